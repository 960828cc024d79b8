import { noGrad } from '../autograd.js';
import { float32, float64 } from '../dtype.js';
import { packHistogram } from '../histogram.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';

/**
 * What is kept of a tensor: all of it (a copy); mean, standard deviation (of the values, not of a sample) or L2 norm
 * of all values; a histogram, as `packHistogram` makes it; the mean of each channel. Channels are the second
 * dimension of images and maps [N, C, H, W, …], the last of features [N, C] and of tokens [N, L, C].
 */
export type Reduction = 'full' | 'mean' | 'std' | 'norm' | 'histogram' | 'channelMean';

export const REDUCTIONS: readonly Reduction[] = ['full', 'mean', 'std', 'norm', 'histogram', 'channelMean'];

/** Means and norms are computed in single precision at least. */
const wide = (x: Tensor): Tensor => (x.dtype === float64 ? x : x.to(float32));

const reductions: Record<Reduction, (x: Tensor) => Tensor> = {
  full: (x) => x.clone(),
  mean: (x) => wide(x).mean(),
  std: (x) => wide(x).std(null, { correction: 0 }),
  norm: (x) => wide(x).linalg_vector_norm(),
  histogram: (x) => packHistogram(x),
  channelMean: (x) => {
    const rank = x.shape.length;
    const channel = rank >= 4 ? 1 : rank - 1;
    const others = x.shape.map((_, i) => i).filter((i) => i !== channel);
    return others.length === 0 ? wide(x).clone() : wide(x).mean(others);
  },
};

/** Reduces a tensor on its device. The result is in no graph and belongs to the caller: no scope releases it. */
export function reduce(x: Tensor, reduction: Reduction): Tensor {
  return scope(() => noGrad(() => reductions[reduction](x.detach()).keep()));
}
