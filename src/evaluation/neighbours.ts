import type { Tensor } from '../torch/index.js';
import {
  type BlockOptions,
  blockRows,
  forEachDistanceBlock,
  forEachDistancePanel,
  type Metric,
  MOST_ROWS,
} from './distance.js';
import { NearestLists } from './nearest-lists.js';
import { type Neighbours, smallest } from './smallest.js';

/** To keep lists takes less time than to search whole rows where so small a share of the gallery is asked for. */
const LISTED = 1 / 2000;

/**
 * The `k` rows of `gallery` nearest to each row of `query`, equally near ones by number. With fewer rows than `k`
 * in the gallery, all of them.
 *
 * @param query [n, dim] float32
 * @param gallery [m, dim] float32, on the same device
 */
export function nearestRows(
  query: Tensor,
  gallery: Tensor,
  k: number,
  metric: Metric,
  options: BlockOptions = {},
): Neighbours {
  const [n, m] = [query.shape[0], gallery.shape[0]];
  if (k <= LISTED * m && blockRows(m, options.budget) < Math.min(n, MOST_ROWS)) {
    const lists = new NearestLists(n, Math.min(k, m));
    forEachDistancePanel(
      query,
      gallery,
      metric,
      (panel, row, column) => lists.add(panel, row, column),
      options,
    );
    const { neighbours } = lists;
    // Distances that are no numbers, or infinite, are in no list.
    if (neighbours !== undefined) return neighbours;
  }
  return nearestInWholeRows(query, gallery, k, metric, () => {}, options);
}

/**
 * As {@link nearestRows}, where distances may be anything.
 *
 * @param visit is told of each block of distances [rows, m], before its neighbours are looked for; may change it
 */
export function nearestInWholeRows(
  query: Tensor,
  gallery: Tensor,
  k: number,
  metric: Metric,
  visit: (block: Tensor) => void,
  options: BlockOptions,
): Neighbours {
  const [n, m] = [query.shape[0], gallery.shape[0]];
  const width = Math.min(k, m);
  const indices = new Int32Array(n * width);
  const distances = new Float32Array(n * width);
  forEachDistanceBlock(
    query,
    gallery,
    metric,
    (block, from) => {
      visit(block);
      const found = smallest(block, width);
      indices.set(found.indices, from * width);
      distances.set(found.distances, from * width);
    },
    options,
  );
  return { k: width, indices, distances };
}
