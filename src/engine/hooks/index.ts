export { CallbackHook, type Callbacks } from './callback-hook.js';
export { EvalHook } from './eval-hook.js';
export { IterationTimer } from './iteration-timer.js';
export { LRScheduler, type SteppedRates } from './lr-scheduler.js';
export {
  PeriodicCheckpointer,
  type PeriodicCheckpointerOptions,
  type SavePoint,
} from './periodic-checkpointer.js';
export { PeriodicWriter } from './periodic-writer.js';
export { ProgressBar } from './progress-bar.js';
