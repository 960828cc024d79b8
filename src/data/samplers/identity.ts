import type { ImageItem } from '../datasets/base.js';
import type { Rng } from '../rng.js';
import { checkIdentities, groupByIdentity, type IdentitySamplerOptions, interleave } from './groups.js';
import { EndlessSampler } from './sampler.js';

// Passes without a single batch before the sampler gives up: only a handful of identities on many processes.
const MAX_EMPTY_PASSES = 1000;

/**
 * P × K batches: P identities, K images of each, an identity's images side by side. A pass shuffles each
 * identity's images (filled up by repetition when it has fewer than K) and deals them out K at a time, without
 * putting back; identities are drawn without repetition from those that still have K images; the pass ends when
 * fewer than P are left. Each process gets whole identities, P of its own a batch.
 */
export class NaiveIdentitySampler extends EndlessSampler {
  readonly #indices: number[][];
  readonly #numInstances: number;
  readonly #pidsPerBatch: number;

  constructor(items: readonly ImageItem[], options: IdentitySamplerOptions) {
    super(options.seed, options);
    this.#indices = groupByIdentity(items);
    this.#numInstances = options.numInstances;
    this.#pidsPerBatch = options.miniBatchSize / options.numInstances;
    const groups = this.#indices.reduce(
      (n, { length }) => n + Math.max(1, Math.floor(length / options.numInstances)),
      0,
    );
    checkIdentities(this.#indices.length, groups, options);
  }

  protected override chunk(rng: Rng): number[] {
    for (let pass = 0; pass < MAX_EMPTY_PASSES; pass++) {
      const indices = this.#pass(rng);
      if (indices.length > 0) return indices;
    }
    throw new Error(
      `NaiveIdentitySampler: ${this.#indices.length} identities cannot fill ${this.worldSize} batches of ` +
        `${this.#pidsPerBatch} identities: lower SOLVER.IMS_PER_BATCH or raise DATALOADER.NUM_INSTANCE`,
    );
  }

  #pass(rng: Rng): number[] {
    const left = new Map<number, number[]>();
    let available = this.#indices.map((_, identity) => identity);
    const stream: number[] = [];
    let batches: number[][] = [];
    while (available.length >= this.#pidsPerBatch) {
      const batch: number[] = [];
      const spent = new Set<number>();
      for (const identity of rng.sample(available, this.#pidsPerBatch)) {
        const images = left.get(identity) ?? this.#shuffled(identity, rng);
        left.set(identity, images);
        batch.push(...images.splice(0, this.#numInstances));
        if (images.length < this.#numInstances) spent.add(identity);
      }
      available = available.filter((identity) => !spent.has(identity));
      batches.push(batch);
      if (batches.length === this.worldSize) {
        stream.push(...interleave(batches));
        batches = [];
      }
    }
    return stream;
  }

  #shuffled(identity: number, rng: Rng): number[] {
    const all = this.#indices[identity];
    if (all.length >= this.#numInstances) return rng.shuffle([...all]);
    return Array.from({ length: this.#numInstances }, () => all[rng.integer(all.length)]);
  }
}
