// Histograms made where the values are, as one small tensor that can be read later.

import { float64 } from './dtype.js';
import { cat, stack, zeros } from './ops.js';
import type { Tensor } from './tensor.js';

/** How values are spread. Values that are infinite or not a number are counted, and in nothing else. */
export interface Histogram {
  min: number;
  max: number;
  /** Finite values. */
  count: number;
  nonFinite: number;
  sum: number;
  sumSquares: number;
  /** Bounds of the bins, one more than there are bins. */
  edges: number[];
  /** Values in each bin; the last one includes its upper bound. */
  counts: number[];
}

const FACTS = 6;

/**
 * Counts the values of a tensor in bins of equal width between its least and greatest value. Nothing is read back
 * from the device; {@link readHistogram} does that.
 *
 * @param x any shape, a real dtype
 * @param bins number of bins, 1 or more
 * @returns float64 `[6 + bins]` on the tensor's device: min, max, count, values that are not finite, sum, sum of
 *   squares, then the counts
 */
export function packHistogram(x: Tensor, bins = 64): Tensor {
  if (!Number.isInteger(bins) || bins < 1) throw new RangeError(`a histogram of ${bins} bins: 1 or more`);
  const all = x.detach().reshape([-1]);
  const values = all.masked_select(all.isfinite());
  const finite = values.numel();
  const options = { dtype: float64, device: x.device };
  const head = zeros([FACTS], options);
  head.select(0, 2).fill_(finite);
  head.select(0, 3).fill_(all.numel() - finite);
  if (finite === 0) return cat([head, zeros([bins], options)], 0);
  // histc knows no integers, and in half precision it would not count beyond 2048.
  const wide = values.to(float64);
  const facts = stack([
    wide.min(),
    wide.max(),
    head.select(0, 2),
    head.select(0, 3),
    wide.sum(),
    wide.square().sum(),
  ]);
  return cat([facts, wide.histc(bins)], 0);
}

/** What a tensor of {@link packHistogram} says. */
export function readHistogram(packed: Tensor): Histogram {
  const [min, max, count, nonFinite, sum, sumSquares, ...counts] = packed.tolist() as number[];
  // Where all values are equal, histc widens the range by one to each side.
  const pad = min === max && count > 0 ? 1 : 0;
  const [from, width] = [min - pad, (max - min + 2 * pad) / counts.length];
  const edges = Array.from({ length: counts.length + 1 }, (_, i) =>
    i === counts.length ? max + pad : from + i * width,
  );
  return { min, max, count, nonFinite, sum, sumSquares, edges, counts };
}
