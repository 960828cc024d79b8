import type { Rng } from '../rng.js';

/** Top-left corner and size of a rectangle, in pixels. */
export interface Rectangle {
  top: number;
  left: number;
  height: number;
  width: number;
}

/** Area of the erased rectangle, as a part of the image's, and its height : width ratio. */
const ERASE_SCALE = [0.02, 0.33] as const;
const ERASE_RATIO = [0.3, 3.3] as const;
const ERASE_ATTEMPTS = 10;

/**
 * Rectangle for random erasing (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020): its area is drawn
 * uniformly, its ratio log-uniformly; drawn anew, up to ten times, while it does not fit. Undefined when it never
 * fitted.
 */
export function drawErasing(rng: Rng, height: number, width: number): Rectangle | undefined {
  for (let attempt = 0; attempt < ERASE_ATTEMPTS; attempt++) {
    const area = height * width * rng.uniform(...ERASE_SCALE);
    const ratio = Math.exp(rng.uniform(Math.log(ERASE_RATIO[0]), Math.log(ERASE_RATIO[1])));
    const h = Math.round(Math.sqrt(area * ratio));
    const w = Math.round(Math.sqrt(area / ratio));
    if (h >= height || w >= width) continue;
    return { top: rng.integer(height - h + 1), left: rng.integer(width - w + 1), height: h, width: w };
  }
  return undefined;
}

export type PaddingMode = 'constant' | 'edge' | 'reflect' | 'symmetric';

/**
 * For every row (or column) of an image padded by `padding` on both sides, the row of the image it repeats:
 * `edge` repeats the border, `reflect` mirrors at the border row, `symmetric` mirrors and repeats it.
 */
export function paddedSource(
  size: number,
  padding: number,
  mode: Exclude<PaddingMode, 'constant'>,
): number[] {
  const most = mode === 'edge' ? Number.POSITIVE_INFINITY : mode === 'reflect' ? size - 1 : size;
  if (padding > most) {
    throw new RangeError(
      `padding ${padding} is too wide for ${size} pixels in mode '${mode}': at most ${most}`,
    );
  }
  return Array.from({ length: size + 2 * padding }, (_, i) => {
    const at = i - padding;
    if (at >= 0 && at < size) return at;
    if (mode === 'edge') return at < 0 ? 0 : size - 1;
    const skip = mode === 'reflect' ? 0 : 1;
    return at < 0 ? -at - skip : 2 * (size - 1) - at + skip;
  });
}
