export { Adam, type AdamGroup, type AdamOptions, AdamW } from './adam.js';
export { type ClipNormOptions, clipEachGradNorm_, clipGradNorm_, clipGradValue_ } from './clip.js';
export {
  type Bucket,
  Optimizer,
  type ParamGroup,
  type ParamGroupInit,
  type ParamState,
  type Params,
} from './optimizer.js';
export { SGD, type SGDGroup, type SGDOptions } from './sgd.js';
export type { OptimizerState, PackedGroup } from './state.js';
