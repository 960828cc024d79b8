import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

export type Metric = 'cosine' | 'euclidean';

/** Name check for `TEST.METRIC`. Throws naming the accepted values. */
export function parseMetric(name: string): Metric {
  if (name === 'cosine' || name === 'euclidean') return name;
  throw new Error(`TEST.METRIC: unknown metric '${name}'; use 'cosine' or 'euclidean'`);
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
  return torch.scope(() => {
    const norm = x.norm(2, [1], true).clamp_min(1e-12);
    return x.div(norm);
  });
}

/** What distances to a fixed gallery need more than once. */
interface Prepared {
  query: Tensor;
  galleryT: Tensor;
  gallerySquares: Tensor | null;
}

function prepare(query: Tensor, gallery: Tensor, metric: Metric): Prepared {
  if (metric === 'cosine') {
    return { query: normalize(query), galleryT: normalize(gallery).t(), gallerySquares: null };
  }
  return { query, galleryT: gallery.t(), gallerySquares: gallery.pow(2).sum([1], true).t() };
}

function blockDistance(p: Prepared, from: number, rows: number): Tensor {
  const q = p.query.narrow(0, from, rows);
  if (p.gallerySquares === null) return q.matmul(p.galleryT).neg_().add_(1);
  const squares = q.pow(2).sum([1], true);
  return squares.add(p.gallerySquares).addmm_(q, p.galleryT, { beta: 1, alpha: -2 });
}

/**
 * Distances of query rows to all gallery rows, a block of queries at a time, so that memory stays at
 * `blockRows × m` whatever the number of queries. `visit` gets each block [rows, m] and its first row's
 * number; the block is released when `visit` returns.
 *
 * @param query [n, dim] float features
 * @param gallery [m, dim] float features, on the same device
 */
export function forEachDistanceBlock(
  query: Tensor,
  gallery: Tensor,
  metric: Metric,
  visit: (block: Tensor, from: number) => void,
  blockRows = 256,
): void {
  checkFeatures(query, gallery);
  torch.noGrad(() =>
    torch.scope(() => {
      const prepared = prepare(query, gallery, metric);
      const n = query.shape[0];
      for (let from = 0; from < n; from += blockRows) {
        torch.scope(() => {
          visit(blockDistance(prepared, from, Math.min(blockRows, n - from)), from);
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
