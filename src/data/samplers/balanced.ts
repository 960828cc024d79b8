import type { ImageItem } from '../datasets/base.js';
import type { Rng } from '../rng.js';
import {
  checkIdentities,
  drawImages,
  groupByIdentity,
  type IdentitySamplerOptions,
  interleave,
} from './groups.js';
import { EndlessSampler } from './sampler.js';

/**
 * P × K batches in which every identity comes once in a pass, however many images it has: an anchor image, and K − 1
 * images of it from other cameras than the anchor's (of the same camera, if there is no other; repeated where there
 * are too few). An identity's images lie side by side. Identities that do not fill the last batch of a pass are left
 * out of that pass. Each process gets whole identities, P of its own a batch.
 */
export class BalancedIdentitySampler extends EndlessSampler {
  readonly #items: readonly ImageItem[];
  readonly #indices: number[][];
  readonly #numInstances: number;
  readonly #pidsPerBatch: number;

  constructor(items: readonly ImageItem[], options: IdentitySamplerOptions) {
    super(options.seed, options);
    this.#items = items;
    this.#indices = groupByIdentity(items);
    this.#numInstances = options.numInstances;
    this.#pidsPerBatch = options.miniBatchSize / options.numInstances;
    checkIdentities(this.#indices.length, this.#indices.length, options);
  }

  protected override chunk(rng: Rng): number[] {
    const identities = rng.permutation(this.#indices.length);
    const perBatch = this.#pidsPerBatch;
    const perStep = perBatch * this.worldSize;
    const stream: number[] = [];
    for (let step = 0; step + perStep <= identities.length; step += perStep) {
      const batches = Array.from({ length: this.worldSize }, (_, process) => {
        const from = step + process * perBatch;
        return identities
          .slice(from, from + perBatch)
          .flatMap((identity) => this.#group(this.#indices[identity], rng));
      });
      stream.push(...interleave(batches));
    }
    return stream;
  }

  #group(images: readonly number[], rng: Rng): number[] {
    const anchor = images[rng.integer(images.length)];
    const { camid } = this.#items[anchor];
    const elsewhere = images.filter((i) => this.#items[i].camid !== camid);
    const others = elsewhere.length > 0 ? elsewhere : images.filter((i) => i !== anchor);
    return [anchor, ...drawImages(others.length > 0 ? others : [anchor], this.#numInstances - 1, rng)];
  }
}
