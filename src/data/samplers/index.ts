export { type IdentitySamplerOptions, NaiveIdentitySampler } from './identity.js';
export { InferenceSampler } from './inference.js';
export { EndlessSampler, type SamplerState, type Shard } from './sampler.js';
export { TrainingSampler } from './training.js';
