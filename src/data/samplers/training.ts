import type { Rng } from '../rng.js';
import { EndlessSampler, type Shard } from './sampler.js';

/**
 * Endless sampler over `size` images: one permutation after another (or the plain order when `shuffle` is
 * false), dealt out to the processes in turn.
 */
export class TrainingSampler extends EndlessSampler {
  readonly #size: number;
  readonly #shuffle: boolean;

  constructor(size: number, options: Shard & { seed: number; shuffle?: boolean }) {
    super(options.seed, options);
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`TrainingSampler: no images to draw from (${size})`);
    this.#size = size;
    this.#shuffle = options.shuffle ?? true;
  }

  protected override chunk(rng: Rng): number[] {
    return this.#shuffle ? rng.permutation(this.#size) : Array.from({ length: this.#size }, (_, i) => i);
  }
}
