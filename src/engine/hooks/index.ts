export { ActivationHealth, type ActivationHealthOptions } from './activation-health.js';
export { AutogradProfiler, type AutogradProfilerOptions } from './autograd-profiler.js';
export { CallbackHook, type Callbacks } from './callback-hook.js';
export { type CapturedStep, CaptureHook, type CaptureHookOptions, type CaptureSink } from './capture.js';
export { configuredHooks } from './configured.js';
export { EMA } from './ema.js';
export { EvalHook } from './eval-hook.js';
export { IterationTimer } from './iteration-timer.js';
export { LayerFreeze, type LayerFreezeOptions } from './layer-freeze.js';
export { LRScheduler, type SteppedRates } from './lr-scheduler.js';
export { NonFiniteDetector, type NonFiniteDetectorOptions, NonFiniteError } from './non-finite.js';
export { ParameterHealth, type ParameterHealthOptions } from './parameter-health.js';
export {
  PeriodicCheckpointer,
  type PeriodicCheckpointerOptions,
  type SavePoint,
} from './periodic-checkpointer.js';
export { PeriodicWriter } from './periodic-writer.js';
export { PreciseBN } from './precise-bn.js';
export { ProgressBar } from './progress-bar.js';
export { type RatedOptimizer, SWA, type SWAOptions } from './swa.js';
