import type { Tensor } from '../../torch/index.js';
import * as torch from '../../torch/index.js';
import type { Rng } from '../rng.js';
import { drawErasing, type PaddingMode, paddedSource } from './parameters.js';

/**
 * One step on a whole batch, N × 3 × H × W, on whatever device the batch is. Each picture gets parameters of its
 * own from `rng`. The batch is the step's to change: what it returns may or may not be the tensor it was given.
 */
export type BatchTransform = (images: Tensor, rng: Rng) => Tensor;

/** Mirrors each picture with probability `prob`. Any dtype. */
export function randomHorizontalFlip(prob: number): BatchTransform {
  return (images, rng) => {
    const chosen = indicesWhere(images.shape[0], () => rng.uniform() < prob);
    if (chosen.length === 0) return images;
    const index = torch.tensor(BigInt64Array.from(chosen, BigInt)).to(images.device);
    return images.index_copy_(0, index, images.index_select(0, index).flip([3]));
  };
}

/**
 * Pads by `padding` pixels on every side (`constant` pads with 0) and cuts out a random piece of the old size,
 * each picture its own. Any dtype.
 */
export function padAndRandomCrop(padding: number, mode: PaddingMode): BatchTransform {
  return (images, rng) => {
    const [n, , height, width] = images.shape;
    const tops = new BigInt64Array(n);
    const lefts = new BigInt64Array(n);
    for (let i = 0; i < n; i++) {
      tops[i] = BigInt(rng.integer(2 * padding + 1));
      lefts[i] = BigInt(rng.integer(2 * padding + 1));
    }
    // Every possible crop is a view of the padded batch; one indexing operation then copies the chosen ones.
    const crops = pad(images, padding, mode).unfold(2, height, 1).unfold(3, width, 1);
    const pictures = torch.arange(n, { device: images.device });
    return crops
      .permute([0, 2, 3, 1, 4, 5])
      .index(pictures, torch.tensor(tops).to(images.device), torch.tensor(lefts).to(images.device));
  };
}

function pad(images: Tensor, padding: number, mode: PaddingMode): Tensor {
  if (mode === 'constant') return images.constant_pad_nd([padding, padding, padding, padding], 0);
  const index = (size: number): Tensor =>
    torch.tensor(BigInt64Array.from(paddedSource(size, padding, mode), BigInt)).to(images.device);
  return images.index_select(2, index(images.shape[2])).index_select(3, index(images.shape[3]));
}

/**
 * Erases one rectangle of each picture, with probability `prob`, to `value`, one number a channel (0–255). For
 * float pictures; {@link drawErasing} says which rectangle.
 */
export function randomErasing(prob: number, value: readonly number[]): BatchTransform {
  return (images, rng) => {
    const [n, channels, height, width] = images.shape;
    if (value.length !== channels && value.length !== 1) {
      throw new RangeError(`INPUT.REA.VALUE needs ${channels} numbers (or one), got ${value.length}`);
    }
    const fill = torch.tensor([...value], { dtype: images.dtype, device: images.device }).view([-1, 1, 1]);
    for (let i = 0; i < n; i++) {
      const area = rng.uniform() < prob ? drawErasing(rng, height, width) : undefined;
      // A few small writes: to build a mask and pass over the whole batch takes ten times as long.
      if (area)
        images.select(0, i).narrow(1, area.top, area.height).narrow(2, area.left, area.width).copy_(fill);
    }
    return images;
  };
}

/** Bytes to float32, values 0–255 kept: the model itself normalises. */
export const toFloat: BatchTransform = (images) => images.to(torch.float32);

/** One transform after the other; what they make in between is released. */
export function compose(transforms: readonly BatchTransform[]): BatchTransform {
  return (images, rng) =>
    torch.scope(() => transforms.reduce((batch, transform) => transform(batch, rng), images));
}

function indicesWhere(n: number, test: () => boolean): number[] {
  const found: number[] = [];
  for (let i = 0; i < n; i++) if (test()) found.push(i);
  return found;
}
