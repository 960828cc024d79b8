import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import {
  type BlockOptions,
  blockDistance,
  blockRows,
  columnsAt,
  columnsOf,
  DEFAULT_BUDGET,
  type Metric,
  type Prepared,
  panelShape,
  prepare,
} from './distance.js';

/** Positions [rows, k] of some columns in their rows, sorted ascending: as `torch.sortedPositions`. */
export type PositionsOf = (columns: Tensor) => Tensor;

/**
 * For each block of queries, what finds the positions of gallery images by their distances to them, without all
 * distances of a query ever being there: so blocks can be tall in front of a large gallery.
 *
 * @param query [n, dim] float32; `gallery` [m, dim] on the same device
 * @param visit gets it with the block's first query and number of queries; it is only valid during the call
 */
export function forEachPositions(
  query: Tensor,
  gallery: Tensor,
  metric: Metric,
  visit: (positionsOf: PositionsOf, first: number, rows: number) => void,
  { budget = DEFAULT_BUDGET, normalized = false }: BlockOptions = {},
): void {
  const n = query.shape[0];
  const { tall } = panelShape(n, budget);
  torch.noGrad(() =>
    torch.scope(() => {
      const prepared = prepare(query, gallery, metric, normalized);
      for (let first = 0; first < n; first += tall) {
        const rows = Math.min(tall, n - first);
        const positionsOf = (columns: Tensor): Tensor =>
          torch.scope(
            () => inPanels(prepared, first, columns, budget) ?? inWholeRows(prepared, first, columns, budget),
          );
        visit(positionsOf, first, rows);
      }
    }),
  );
}

/**
 * The distances of the columns asked for come first, then those of all other columns are compared with them. No
 * distance is computed twice, since in a product of another shape it might be rounded otherwise. Undefined where so
 * many columns are asked for that they are no panel, or one of their distances is not finite.
 */
function inPanels(prepared: Prepared, first: number, columns: Tensor, budget: number): Tensor | undefined {
  const [rows] = columns.shape;
  const { wide } = panelShape(rows, budget);
  const wanted = columns.toTypedArray() as Int32Array;
  const known = Int32Array.from(new Set(wanted))
    .filter((column) => column >= 0)
    .sort();
  if (known.length === 0 || known.length > wide) return undefined;
  const places = new Map(Array.from(known, (column, i) => [column, i]));
  const own = torch.fromTypedArray(
    wanted.map((column) => places.get(column) ?? -1),
    columns.shape,
  );
  const near = blockDistance(columnsAt(prepared, known), first, rows).cpu();
  if (near.isfinite().all().item() === false) return undefined;
  const positions = torch.sortedPositions(near, own);
  const bounds = near.gather(1, own.clamp_min(0).long()).masked_fill(own.lt(0), Number.NaN);
  const m = prepared.galleryT.shape[1];
  let next = 0;
  for (let column = 0; column < m; column += wide) {
    const width = Math.min(wide, m - column);
    const begin = next;
    while (next < known.length && known[next] < column + width) next++;
    torch.scope(() => {
      const block = blockDistance(columnsOf(prepared, column, width), first, rows);
      const done = known.subarray(begin, next).map((one) => one - column);
      if (done.length > 0) {
        block.index_fill_(
          1,
          torch.tensor(BigInt64Array.from(done, BigInt), { device: block.device }),
          Number.NaN,
        );
      }
      positions.add_(torch.countBefore(block.cpu(), bounds, columns.sub(column)));
    });
  }
  return positions;
}

function inWholeRows(prepared: Prepared, first: number, columns: Tensor, budget: number): Tensor {
  const [n] = columns.shape;
  const positions = torch.empty(columns.shape, { dtype: torch.int32 });
  const tall = blockRows(prepared.galleryT.shape[1], budget);
  for (let from = 0; from < n; from += tall) {
    const rows = Math.min(tall, n - from);
    torch.scope(() => {
      const block = blockDistance(prepared, first + from, rows).cpu();
      positions.narrow(0, from, rows).copy_(torch.sortedPositions(block, columns.narrow(0, from, rows)));
    });
  }
  return positions;
}
