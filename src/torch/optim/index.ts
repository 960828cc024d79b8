export { Adadelta, type AdadeltaGroup, type AdadeltaOptions } from './adadelta.js';
export { Adafactor, type AdafactorGroup, type AdafactorOptions } from './adafactor.js';
export { Adagrad, type AdagradGroup, type AdagradOptions } from './adagrad.js';
export { Adam, type AdamGroup, type AdamOptions, AdamW } from './adam.js';
export { Adamax, type AdamaxGroup, type AdamaxOptions } from './adamax.js';
export { ASGD, type ASGDGroup, type ASGDOptions } from './asgd.js';
export { type ClipNormOptions, clipEachGradNorm_, clipGradNorm_, clipGradValue_ } from './clip.js';
export { type ForeachGroup, ForeachOptimizer, type ForeachOptions, type StateLists } from './foreach.js';
export { NAdam, type NAdamGroup, type NAdamOptions } from './nadam.js';
export {
  type Bucket,
  Optimizer,
  type ParamGroup,
  type ParamGroupInit,
  type ParamState,
  type Params,
} from './optimizer.js';
export { RAdam, type RAdamGroup, type RAdamOptions } from './radam.js';
export { RMSprop, type RMSpropGroup, type RMSpropOptions } from './rmsprop.js';
export { Rprop, type RpropGroup, type RpropOptions } from './rprop.js';
export { SGD, type SGDGroup, type SGDOptions } from './sgd.js';
export type { OptimizerState, PackedGroup } from './state.js';
