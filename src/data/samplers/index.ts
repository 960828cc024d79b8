export { BalancedIdentitySampler } from './balanced.js';
export type { IdentitySamplerOptions } from './groups.js';
export { NaiveIdentitySampler } from './identity.js';
export { ImbalancedDatasetSampler } from './imbalanced.js';
export { InferenceSampler } from './inference.js';
export { EndlessSampler, type SamplerState, type Shard } from './sampler.js';
export { type SetReWeightOptions, SetReWeightSampler } from './set-reweight.js';
export { TrainingSampler } from './training.js';
