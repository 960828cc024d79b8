import type { Config } from '../../config/index.js';
import { nearest } from '../../nearest.js';
import type { ImageItem } from '../datasets/base.js';
import { BalancedIdentitySampler } from './balanced.js';
import { NaiveIdentitySampler } from './identity.js';
import { ImbalancedDatasetSampler } from './imbalanced.js';
import type { EndlessSampler, Shard } from './sampler.js';
import { SetReWeightSampler } from './set-reweight.js';
import { TrainingSampler } from './training.js';

/** What a sampler is built from. */
export interface SamplerContext extends Required<Shard> {
  items: readonly ImageItem[];
  /** Number of the data set of each item, in the order of DATASETS.NAMES. */
  sets: readonly number[];
  /** Images of a process in a batch. */
  miniBatchSize: number;
  seed: number;
}

const identityOptions = (cfg: Config, context: SamplerContext) => ({
  ...context,
  numInstances: cfg.DATALOADER.NUM_INSTANCE,
});

/** By the name that DATALOADER.SAMPLER_TRAIN uses. */
const SAMPLERS: Record<string, (cfg: Config, context: SamplerContext) => EndlessSampler> = {
  TrainingSampler: (_, context) => new TrainingSampler(context.items.length, context),
  NaiveIdentitySampler: (cfg, context) =>
    new NaiveIdentitySampler(context.items, identityOptions(cfg, context)),
  BalancedIdentitySampler: (cfg, context) =>
    new BalancedIdentitySampler(context.items, identityOptions(cfg, context)),
  SetReWeightSampler: (cfg, context) => {
    const setWeight = cfg.DATALOADER.SET_WEIGHT;
    const sets = setsOf(setWeight.length, context);
    return new SetReWeightSampler(context.items, { ...identityOptions(cfg, context), setWeight, sets });
  },
  ImbalancedDatasetSampler: (_, context) => new ImbalancedDatasetSampler(context.items, context),
};

/** One weight a data set of DATASETS.NAMES; or one a camera, which is FastReID's reading. */
function setsOf(weights: number, { items, sets }: SamplerContext): readonly number[] | undefined {
  const datasets = new Set(sets).size;
  if (weights === datasets) return sets;
  const cameras = new Set(items.map(({ camid }) => camid)).size;
  if (weights === cameras) return undefined;
  throw new RangeError(
    `DATALOADER.SET_WEIGHT has ${weights} numbers: give one for each of DATASETS.NAMES (${datasets}), or for each ` +
      `camera (${cameras})`,
  );
}

/** The sampler that DATALOADER.SAMPLER_TRAIN names. Throws when it is not known, or no batch can be made. */
export function buildSampler(cfg: Config, context: SamplerContext): EndlessSampler {
  const name = cfg.DATALOADER.SAMPLER_TRAIN;
  if (Object.hasOwn(SAMPLERS, name)) return SAMPLERS[name](cfg, context);
  const known = Object.keys(SAMPLERS);
  const guess = nearest(name, known);
  throw new Error(
    `DATALOADER.SAMPLER_TRAIN: unknown sampler '${name}'.${guess ? ` Did you mean '${guess}'?` : ''} ` +
      `Known: ${known.join(', ')}`,
  );
}
