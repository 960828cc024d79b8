export { addClipping, type GradientClipper, gradientClipper } from './clipping.js';
export { unflattenState } from './flat_state.js';
export {
  addFreezing,
  asksForFreezing,
  Freezing,
  type FrozenParts,
  freezingOf,
  frozenParts,
} from './freezing.js';
export { Lamb, type LambGroup, type LambOptions } from './lamb.js';
export {
  CosineAnnealingLR,
  LRScheduler,
  MultiStepLR,
  type Schedulable,
  type SchedulerState,
  WarmupLR,
} from './lr_scheduler.js';
export { buildOptimizer, OPTIMIZER_REGISTRY, type OptimizerBuilder } from './optimizer.js';
export { type GroupOptions, type GroupSettings, groupSettings, paramGroups } from './param_groups.js';
export {
  buildLrScheduler,
  type EpochRates,
  LearningRates,
  type RunLength,
  SCHEDULER_REGISTRY,
  type SchedulerBuilder,
  scheduleTable,
} from './schedule.js';
