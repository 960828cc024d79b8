import type { Tensor } from '../../torch/index.js';
import * as torch from '../../torch/index.js';
import type { Rng } from '../rng.js';
import type { Rectangle } from './erasing.js';
import type { BatchStep } from './transform.js';

/** Area of a patch as a part of the picture's, and its height ÷ width, both drawn uniformly. */
const AREA = [0.01, 0.5] as const;
const RATIO = [0.1, 10] as const;
const ATTEMPTS = 100;
/** Patches there must be before any is pasted. */
const LEAST = 100;
/**
 * Patches remembered: the latest ones. FastReID keeps 50,000, every one holding on to a whole picture, which are 20
 * gigabytes; a thousand pictures are as mixed a choice, in 100 megabytes.
 */
const CAPACITY = 1024;

/** Rectangle of a patch; undefined when none of a hundred draws fits. */
export function drawPatch(rng: Rng, height: number, width: number): Rectangle | undefined {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const area = height * width * rng.uniform(...AREA);
    const ratio = rng.uniform(...RATIO);
    const h = Math.round(Math.sqrt(area * ratio));
    const w = Math.round(Math.sqrt(area / ratio));
    if (h < 1 || w < 1 || h >= height || w >= width) continue;
    return { top: rng.integer(height - h + 1), left: rng.integer(width - w + 1), height: h, width: w };
  }
  return undefined;
}

const cut = (image: Tensor, { top, left, height, width }: Rectangle): Tensor =>
  image.narrow(1, top, height).narrow(2, left, width);

/**
 * Takes a patch of every picture into a pool and, with probability `prob`, pastes one of the pool, mirrored or not,
 * somewhere on the picture (Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019).
 */
export class RandomPatch implements BatchStep {
  readonly memory = CAPACITY;
  readonly #prob: number;
  #pool: Tensor[] = [];

  constructor(prob: number) {
    this.#prob = prob;
  }

  apply(images: Tensor, rng: Rng): void {
    const [n, , height, width] = images.shape;
    torch.scope(() => {
      for (let i = 0; i < n; i++) {
        const image = images.select(0, i);
        const source = drawPatch(rng, height, width);
        if (source) this.#add(cut(image, source));
        // Drawn even when nothing is pasted: what later pictures get must not depend on what is in the pool.
        const [chance, pick, mirror, y, x] = Array.from({ length: 5 }, () => rng.uniform());
        if (this.#pool.length < LEAST || chance >= this.#prob) continue;
        const patch = this.#pool[Math.floor(pick * this.#pool.length)];
        const [, h, w] = patch.shape;
        const top = Math.floor(y * (height - h + 1));
        const left = Math.floor(x * (width - w + 1));
        cut(image, { top, left, height: h, width: w }).copy_(mirror < 0.5 ? patch.flip([2]) : patch);
      }
    });
  }

  reset(): void {
    for (const patch of this.#pool) patch.dispose();
    this.#pool = [];
  }

  #add(patch: Tensor): void {
    this.#pool.push(patch.clone().keep());
    if (this.#pool.length > CAPACITY) this.#pool.shift()!.dispose();
  }
}
