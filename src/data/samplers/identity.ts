import type { ImageItem } from '../datasets/base.js';
import { compareLabels, type Label } from '../labels.js';
import type { Rng } from '../rng.js';
import { checkShard, EndlessSampler, type Shard } from './sampler.js';

export interface IdentitySamplerOptions extends Shard {
  /** Images a process sees in one batch. */
  miniBatchSize: number;
  /** Images of each identity in a batch (K). */
  numInstances: number;
  seed: number;
}

/**
 * Refuses what cannot work, with the way out. Such combinations used to be found only as a training run that
 * hangs before its first step.
 */
function checkBatches(identities: number, groups: number, options: IdentitySamplerOptions): void {
  const { miniBatchSize, numInstances } = options;
  const { worldSize } = checkShard(options);
  if (!Number.isInteger(numInstances) || numInstances < 1) {
    throw new RangeError(`DATALOADER.NUM_INSTANCE must be at least 1, got ${numInstances}`);
  }
  const below = Math.floor(miniBatchSize / numInstances) * numInstances;
  if (!Number.isInteger(miniBatchSize) || miniBatchSize < 1 || below !== miniBatchSize) {
    const fits = [below, below + numInstances].filter((n) => n > 0).map((n) => n * worldSize);
    throw new RangeError(
      `a batch of ${miniBatchSize} images per process cannot hold DATALOADER.NUM_INSTANCE ${numInstances} images of ` +
        `each identity: set SOLVER.IMS_PER_BATCH to ${fits.join(' or ')}, or NUM_INSTANCE to a divisor of ${miniBatchSize}`,
    );
  }
  const perBatch = miniBatchSize / numInstances;
  if (identities < perBatch || groups < perBatch * worldSize) {
    const most = identities < perBatch ? identities * numInstances * worldSize : identities * numInstances;
    const total = miniBatchSize * worldSize;
    throw new RangeError(
      `batches of ${perBatch} identities × ${numInstances} images${worldSize > 1 ? ` on ${worldSize} processes` : ''} ` +
        `need more than the ${identities} identities there are: set SOLVER.IMS_PER_BATCH to at most ${most} ` +
        `(now ${total}), or raise DATALOADER.NUM_INSTANCE`,
    );
  }
}

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
    const byPid = new Map<Label, number[]>();
    items.forEach(({ pid }, index) => {
      const indices = byPid.get(pid);
      if (indices) indices.push(index);
      else byPid.set(pid, [index]);
    });
    this.#indices = [...byPid.keys()].sort(compareLabels).map((pid) => byPid.get(pid)!);
    this.#numInstances = options.numInstances;
    this.#pidsPerBatch = options.miniBatchSize / options.numInstances;
    const groups = this.#indices.reduce(
      (n, { length }) => n + Math.max(1, Math.floor(length / options.numInstances)),
      0,
    );
    checkBatches(this.#indices.length, groups, options);
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
        // Process r reads every worldSize-th index, starting at the r-th: interleaved, that is batch r.
        for (let i = 0; i < batch.length; i++) for (const one of batches) stream.push(one[i]);
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
