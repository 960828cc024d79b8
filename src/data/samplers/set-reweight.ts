import type { ImageItem } from '../datasets/base.js';
import { numberLabels } from '../labels.js';
import type { Rng } from '../rng.js';
import {
  checkGroups,
  drawImages,
  groupByIdentity,
  type IdentitySamplerOptions,
  interleave,
} from './groups.js';
import { EndlessSampler } from './sampler.js';

export interface SetReWeightOptions extends IdentitySamplerOptions {
  /** Identities of each set in a batch, or a fraction of it (DATALOADER.SET_WEIGHT): integers, at least 0. */
  setWeight: readonly number[];
  /** Number of the set that each image belongs to. Default: each camera is a set, in the order of their labels. */
  sets?: readonly number[];
}

/**
 * P × K batches that draw from several sets (data sets, or cameras) in fixed proportions: of every Σ setWeight
 * identities in a batch over all processes, `setWeight[s]` are of set s. Within a set an identity's chance is as its
 * number of images; it is drawn at most once a batch. Each process gets whole identities, drawn from the batch's at
 * random, an identity's images side by side.
 */
export class SetReWeightSampler extends EndlessSampler {
  readonly #indices: number[][];
  /** Identities of each set. */
  readonly #sets: number[][];
  /** Identities of each set in a batch over all processes. */
  readonly #counts: number[];
  readonly #numInstances: number;
  readonly #perProcess: number;

  constructor(items: readonly ImageItem[], options: SetReWeightOptions) {
    super(options.seed, options);
    checkGroups(options);
    const { setWeight, numInstances, miniBatchSize } = options;
    const sets = options.sets ?? setsByCamera(items);
    const total = sets.reduce((most, set) => Math.max(most, set + 1), 0);
    const sum = setWeight.reduce((a, b) => a + b, 0);
    if (!setWeight.every((w) => Number.isInteger(w) && w >= 0) || sum < 1) {
      throw new RangeError(
        `DATALOADER.SET_WEIGHT must be integers, at least 0, not all 0; got (${setWeight.join(', ')})`,
      );
    }
    if (setWeight.length !== total) {
      throw new RangeError(
        `DATALOADER.SET_WEIGHT has ${setWeight.length} numbers for ${total} sets: give one for each`,
      );
    }
    const groups = (miniBatchSize * this.worldSize) / numInstances;
    if (groups % sum !== 0) {
      const unit = lcm(sum, this.worldSize) * numInstances;
      throw new RangeError(
        `SOLVER.IMS_PER_BATCH ${miniBatchSize * this.worldSize} is no multiple of the sum of DATALOADER.SET_WEIGHT, ` +
          `${sum}, times NUM_INSTANCE ${numInstances}: set it to a multiple of ${unit}`,
      );
    }
    this.#indices = groupByIdentity(items);
    this.#sets = setWeight.map((_, set) =>
      this.#indices.flatMap((images, identity) => (images.some((i) => sets[i] === set) ? [identity] : [])),
    );
    this.#counts = setWeight.map((w) => (w * groups) / sum);
    this.#numInstances = numInstances;
    this.#perProcess = groups / this.worldSize;
    this.#sets.forEach(({ length }, set) => {
      if (length >= this.#counts[set]) return;
      throw new RangeError(
        `a batch needs ${this.#counts[set]} identities of set ${set} of DATALOADER.SET_WEIGHT, which has ${length}: ` +
          'lower its weight or SOLVER.IMS_PER_BATCH, or raise DATALOADER.NUM_INSTANCE',
      );
    });
  }

  protected override chunk(rng: Rng): number[] {
    const identities = this.#sets.flatMap((set, i) => this.#draw(set, this.#counts[i], rng));
    const groups = rng
      .shuffle(identities)
      .map((identity) => drawImages(this.#indices[identity], this.#numInstances, rng));
    return interleave(
      Array.from({ length: this.worldSize }, (_, process) =>
        groups.slice(process * this.#perProcess, (process + 1) * this.#perProcess).flat(),
      ),
    );
  }

  /**
   * Weighted draw without putting back: the largest of u^(1/weight), u uniform (Efraimidis and Spirakis, "Weighted
   * random sampling with a reservoir", 2006), here by logarithms.
   */
  #draw(identities: readonly number[], count: number, rng: Rng): number[] {
    return identities
      .map((identity) => ({
        identity,
        key: Math.log(1 - rng.uniform()) / this.#indices[identity].length,
      }))
      .sort((a, b) => b.key - a.key)
      .slice(0, count)
      .map(({ identity }) => identity);
  }
}

function setsByCamera(items: readonly ImageItem[]): number[] {
  const numbers = numberLabels(items.map(({ camid }) => camid));
  return items.map(({ camid }) => numbers.get(camid)!);
}

function lcm(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y > 0) [x, y] = [y, x % y];
  return (a / x) * b;
}
