import type { Tensor } from '../torch/index.js';
import { type BlockOptions, forEachUpperBlock, type Metric } from './distance.js';
import { NearestLists } from './nearest-lists.js';
import { nearestInWholeRows } from './neighbours.js';
import type { Neighbours } from './smallest.js';

export interface AmongNeighbours extends Neighbours {
  /** Distance of each row to the furthest of all. */
  readonly largest: Float32Array;
}

/**
 * The `k` nearest of each row among all rows, itself included, equally near ones by number; distances below 0, which
 * rounding makes of those of equal rows, are 0. Each pair is computed once.
 *
 * @param features [n, dim] float32
 */
export function nearestAmong(
  features: Tensor,
  k: number,
  metric: Metric,
  options: BlockOptions = {},
): AmongNeighbours {
  const n = features.shape[0];
  const lists = new NearestLists(n, Math.min(k, n));
  const largest = new Float32Array(n);
  const raise = (from: number, values: Tensor): void => {
    (values.toTypedArray() as Float32Array).forEach((d, i) => {
      // Not-a-number stays, as in a maximum.
      if (!(d <= largest[from + i])) largest[from + i] = d;
    });
  };
  forEachUpperBlock(
    features,
    metric,
    (block, from) => {
      block.clamp_min_(0);
      const [rows, width] = block.shape;
      raise(from, block.amax([1]));
      lists.add(block, from, from);
      if (rows === width) return;
      // What lies right of the block's own rows is also the distances of later rows to these.
      const right = block.narrow(1, rows, width - rows);
      raise(from + rows, right.amax([0]));
      lists.add(right, from + rows, from, true);
    },
    options,
  );
  const { neighbours } = lists;
  if (neighbours !== undefined) return { ...neighbours, largest };
  // Distances that are no numbers, or infinite, are in no list.
  const clamp = (block: Tensor): void => void block.clamp_min_(0);
  return { ...nearestInWholeRows(features, features, k, metric, clamp, options), largest };
}
