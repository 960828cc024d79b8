import type { ImageItem } from '../datasets/base.js';
import type { Rng } from '../rng.js';
import { groupByIdentity } from './groups.js';
import { EndlessSampler, type Shard } from './sampler.js';

/**
 * Draws with putting back, every identity as often as any other however many images it has: an image's chance is the
 * inverse of its identity's number of images.
 */
export class ImbalancedDatasetSampler extends EndlessSampler {
  readonly #indices: number[][];
  readonly #size: number;

  constructor(items: readonly ImageItem[], options: Shard & { seed: number }) {
    super(options.seed, options);
    if (items.length === 0) throw new RangeError('ImbalancedDatasetSampler: no images to draw from (0)');
    this.#indices = groupByIdentity(items);
    this.#size = items.length;
  }

  protected override chunk(rng: Rng): number[] {
    return Array.from({ length: this.#size }, () => {
      const images = this.#indices[rng.integer(this.#indices.length)];
      return images[rng.integer(images.length)];
    });
  }
}
