// libtorch for TypeScript: tensors, every ATen operator, autograd, modules, optimizers and files.

import './operators.js';

export * as amp from './amp/index.js';
export { autocast } from './amp/index.js';
export * as autograd from './autograd.js';
export { enableGrad, inferenceMode, isGradEnabled, noGrad, setGradEnabled } from './autograd.js';
export * as backends from './backends.js';
export {
  getFloat32MatmulPrecision,
  type MatmulPrecision,
  setFloat32MatmulPrecision,
} from './backends.js';
export * as cuda from './cuda/index.js';
export { Device, type DeviceLike } from './device.js';
export { operatorNames, schemas } from './dispatch.js';
export * as distributed from './distributed/index.js';
export * from './dtype.js';
export type { RandomOptions, TensorOptions } from './factories.js';
export { type Histogram, packHistogram, readHistogram } from './histogram.js';
export { type IndexItem, Slice, slice } from './indexing.js';
export { multiplyAccumulates } from './macs.js';
export {
  keep,
  type LiveTensor,
  liveTensors,
  memoryStats,
  resetPeakMemory,
  Scope,
  scope,
  trackAllocations,
} from './memory.js';
export * as nn from './nn/index.js';
export { type OperatorCall, type OperatorObserver, observeOperators } from './observe.js';
export * from './ops.js';
export * as optim from './optim/index.js';
export { countBefore, sortedPositions } from './positions.js';
export { getPrintOptions, type PrintOptions, setPrintOptions } from './printing.js';
export {
  type EventKind,
  type ModuleTimes,
  nameModules,
  Profile,
  type ProfileRow,
  type ProfilerEvent,
  type ProfilerOptions,
  profile,
  recordRange,
  startProfiler,
  stopProfiler,
} from './profiler.js';
export { defaultGenerator, Generator, getRngState, manualSeed, setRngState } from './random.js';
export { cpuHasBfloat16, getNumThreads, setNumThreads, version } from './runtime.js';
export * from './serialization/index.js';
export { type HookHandle, type NestedArray, Tensor } from './tensor.js';
