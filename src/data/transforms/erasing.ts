import type { Rng } from '../rng.js';
import type { Size } from './geometry.js';
import type { ImageTransform } from './transform.js';

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
    if (h < 1 || w < 1 || h >= height || w >= width) continue;
    return { top: rng.integer(height - h + 1), left: rng.integer(width - w + 1), height: h, width: w };
  }
  return undefined;
}

/**
 * Erases a rectangle of the picture, of `size`, with probability `prob`, to `value`: one number for all channels or
 * one for each, 0–255. {@link drawErasing} says which rectangle.
 */
export function randomErasing(prob: number, value: readonly number[], size: Size): ImageTransform {
  if (value.length !== 3 && value.length !== 1) {
    throw new RangeError(`INPUT.REA.VALUE needs 3 numbers (or one), got ${value.length}`);
  }
  const [r, g = r, b = r] = value;
  return (program, rng) => {
    const area = rng.uniform() < prob ? drawErasing(rng, ...size) : undefined;
    if (area) program.erase(area, [r, g, b]);
  };
}
