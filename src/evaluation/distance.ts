import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

export type Metric = 'cosine' | 'euclidean';

/**
 * Name check for a distance between features; `others` are names that the caller takes besides.
 * @throws Error that names the accepted values
 */
export function parseMetric(name: string, others: readonly string[] = []): Metric {
  if (name === 'cosine' || name === 'euclidean') return name;
  const known = ['cosine', 'euclidean', ...others].map((one) => `'${one}'`);
  const list = `${known.slice(0, -1).join(', ')} or ${known[known.length - 1]}`;
  throw new Error(`TEST.METRIC: unknown metric '${name}'; use ${list}`);
}

function checkFeatures(query: Tensor, gallery: Tensor): void {
  const [q, g] = [query.shape, gallery.shape];
  if (q.length !== 2 || g.length !== 2 || q[1] !== g[1]) {
    throw new Error(
      `distance: features must be two matrices [n, dim] and [m, dim] with the same dim, got [${q}] and [${g}]`,
    );
  }
}

/** Rows scaled to unit length; a zero row stays zero (the norm is clamped at 1e-12, as in `F.normalize`). */
export function normalize(x: Tensor): Tensor {
  return torch.scope(() => x.div(lengths(x)));
}

/** As {@link normalize}, without a second matrix. */
export function normalize_(x: Tensor): Tensor {
  torch.scope(() => x.div_(lengths(x)));
  return x;
}

const lengths = (x: Tensor): Tensor => x.norm(2, [1], true).clamp_min(1e-12);

/** Memory, in MiB, that distances may take beside the features, where nothing else is said. */
export const DEFAULT_BUDGET = 256;

/** A taller block makes matrix products no faster. */
export const MOST_ROWS = 512;

/** A wider panel makes matrix products no faster either. */
const PANEL_COLUMNS = 16384;

/** How many single-precision numbers, three times over, fit into `budget` MiB. */
function fitting(budget: number): number {
  if (!(budget > 0)) throw new RangeError(`the memory budget must be more than 0 MiB, got ${budget}`);
  return Math.floor((budget * 2 ** 20) / (3 * 4));
}

/** Rows and columns of blocks in front of panels of a gallery, for `n` queries. */
export function panelShape(n: number, budget: number = DEFAULT_BUDGET): { tall: number; wide: number } {
  const fit = fitting(budget);
  const tall = Math.max(1, Math.min(MOST_ROWS, n, Math.floor(Math.sqrt(fit))));
  return { tall, wide: Math.max(1, Math.min(PANEL_COLUMNS, Math.floor(fit / tall))) };
}

/** Rows of `columns` single-precision numbers, three times over, that fit into `budget` MiB; at least one. */
export function blockRows(columns: number, budget: number = DEFAULT_BUDGET): number {
  return Math.max(1, Math.min(MOST_ROWS, Math.floor(fitting(budget) / Math.max(1, columns))));
}

export interface BlockOptions {
  /** MiB that the blocks may take; a block has one row at least. Default {@link DEFAULT_BUDGET}. */
  budget?: number;
  /** The rows have unit length already, so that `cosine` need not see to it. */
  normalized?: boolean;
}

/** Numbers that are copied at a time: few, since the garbage collector is slow to see what they take. */
const COPIED = 1 << 20;

/**
 * The values of a block [rows, m], some rows at a time. `visit` may change them, and gets the first row's number.
 */
export function forEachRows(block: Tensor, visit: (values: Float32Array, from: number) => void): void {
  const [n, m] = block.shape;
  const tall = Math.max(1, Math.floor(COPIED / Math.max(1, m)));
  for (let from = 0; from < n; from += tall) {
    const rows = torch.scope(
      () => block.narrow(0, from, Math.min(tall, n - from)).toTypedArray() as Float32Array,
    );
    visit(rows, from);
  }
}

/** What distances to a fixed gallery need more than once. */
export interface Prepared {
  query: Tensor;
  galleryT: Tensor;
  gallerySquares: Tensor | undefined;
}

export function prepare(query: Tensor, gallery: Tensor, metric: Metric, normalized: boolean): Prepared {
  checkFeatures(query, gallery);
  if (metric === 'cosine') {
    const unit = (x: Tensor): Tensor => (normalized ? x : normalize(x));
    return { query: unit(query), galleryT: unit(gallery).t(), gallerySquares: undefined };
  }
  return { query, galleryT: gallery.t(), gallerySquares: rowSquares(gallery).t() };
}

/** Squared length of each row [n, 1], exact for whole numbers; a few rows at a time, without a second matrix. */
function rowSquares(x: Tensor): Tensor {
  const n = x.shape[0];
  const out = torch.empty([n, 1], { dtype: x.dtype, device: x.device });
  for (let from = 0; from < n; from += MOST_ROWS) {
    const rows = Math.min(MOST_ROWS, n - from);
    torch.scope(() => out.narrow(0, from, rows).copy_(x.narrow(0, from, rows).pow(2).sum([1], true)));
  }
  return out;
}

/** The same for some rows of the gallery. */
export function columnsOf(
  { query, galleryT, gallerySquares }: Prepared,
  from: number,
  columns: number,
): Prepared {
  const some = (x: Tensor): Tensor => x.narrow(1, from, columns);
  return { query, galleryT: some(galleryT), gallerySquares: gallerySquares && some(gallerySquares) };
}

/** The same for these rows of the gallery, in this order. */
export function columnsAt({ query, galleryT, gallerySquares }: Prepared, columns: Int32Array): Prepared {
  const at = torch.tensor(columns, { device: query.device });
  return {
    query,
    galleryT: galleryT.t().index_select(0, at).t(),
    gallerySquares: gallerySquares?.index_select(1, at),
  };
}

/** Distances [rows, m] of the query rows from `from` on. */
export function blockDistance(p: Prepared, from: number, rows: number): Tensor {
  const q = p.query.narrow(0, from, rows);
  // The sign of a factor instead of the product's: one pass less over the block, and the same bits.
  if (p.gallerySquares === undefined) return q.neg().matmul(p.galleryT).add_(1);
  const squares = q.pow(2).sum([1], true);
  return squares.add(p.gallerySquares).addmm_(q, p.galleryT, { beta: 1, alpha: -2 });
}

/**
 * Distances of query rows to all gallery rows, a block of queries at a time, so that memory stays within the
 * budget whatever the number of queries. `visit` gets each block [rows, m] and its first row's number; the block
 * is released when `visit` returns.
 *
 * @param query [n, dim] float features
 * @param gallery [m, dim] float features, on the same device
 */
export function forEachDistanceBlock(
  query: Tensor,
  gallery: Tensor,
  metric: Metric,
  visit: (block: Tensor, from: number) => void,
  { budget, normalized = false }: BlockOptions = {},
): void {
  const tall = blockRows(gallery.shape[0], budget);
  torch.noGrad(() =>
    torch.scope(() => {
      const prepared = prepare(query, gallery, metric, normalized);
      const n = query.shape[0];
      for (let from = 0; from < n; from += tall) {
        torch.scope(() => {
          visit(blockDistance(prepared, from, Math.min(tall, n - from)), from);
        });
      }
    }),
  );
}

/**
 * As {@link forEachDistanceBlock}, but a panel of the gallery at a time, so that blocks can be tall in front of any
 * gallery: a product reads, and rearranges, all of its gallery rows, however few its query rows are.
 *
 * @param visit gets each block [rows, columns] and the numbers of its first row and column; for each row, columns
 *   come in ascending order
 */
export function forEachDistancePanel(
  query: Tensor,
  gallery: Tensor,
  metric: Metric,
  visit: (block: Tensor, row: number, column: number) => void,
  { budget = DEFAULT_BUDGET, normalized = false }: BlockOptions = {},
): void {
  const [n, m] = [query.shape[0], gallery.shape[0]];
  const { tall, wide } = panelShape(n, budget);
  torch.noGrad(() =>
    torch.scope(() => {
      const prepared = prepare(query, gallery, metric, normalized);
      for (let row = 0; row < n; row += tall) {
        for (let column = 0; column < m; column += wide) {
          torch.scope(() => {
            const panel = columnsOf(prepared, column, Math.min(wide, m - column));
            visit(blockDistance(panel, row, Math.min(tall, n - row)), row, column);
          });
        }
      }
    }),
  );
}

/**
 * Distances of all rows to all, each pair once: a block of rows at a time, from the block's first row to the last of
 * all. `visit` gets each block [rows, n − from] and the number `from` of its first row and column.
 *
 * @param features [n, dim] float
 */
export function forEachUpperBlock(
  features: Tensor,
  metric: Metric,
  visit: (block: Tensor, from: number) => void,
  { budget, normalized = false }: BlockOptions = {},
): void {
  torch.noGrad(() =>
    torch.scope(() => {
      const prepared = prepare(features, features, metric, normalized);
      const n = features.shape[0];
      for (let from = 0, rows = 0; from < n; from += rows) {
        rows = Math.min(blockRows(n - from, budget), n - from);
        torch.scope(() => {
          visit(blockDistance(columnsOf(prepared, from, n - from), from, rows), from);
        });
      }
    }),
  );
}

function distance(query: Tensor, gallery: Tensor, metric: Metric): Tensor {
  checkFeatures(query, gallery);
  return torch.noGrad(() =>
    torch.scope(() => {
      const [n, m] = [query.shape[0], gallery.shape[0]];
      const out = torch.empty([n, m], { dtype: query.dtype, device: query.device });
      forEachDistanceBlock(query, gallery, metric, (block, from) => {
        out.narrow(0, from, block.shape[0]).copy_(block);
      });
      return out;
    }),
  );
}

/** `1 − cos(q, g)`, a matrix [n, m] in [0, 2], from features [n, dim] and [m, dim]. */
export function cosineDistance(query: Tensor, gallery: Tensor): Tensor {
  return distance(query, gallery, 'cosine');
}

/**
 * **Squared** Euclidean distance [n, m], `‖q‖² + ‖g‖² − 2 q·g` (the root would not change any ranking). Rounding
 * can leave tiny negative values where two features are equal.
 */
export function euclideanDistance(query: Tensor, gallery: Tensor): Tensor {
  return distance(query, gallery, 'euclidean');
}

/** The whole distance matrix [n, m] by the metric's name (`TEST.METRIC`). */
export function buildDist(query: Tensor, gallery: Tensor, metric: string): Tensor {
  return distance(query, gallery, parseMetric(metric));
}
