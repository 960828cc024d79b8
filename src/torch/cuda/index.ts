// CUDA devices. Everything but the first three questions throws where there is none.

export {
  type CudaDevice,
  currentDevice,
  type DeviceProperties,
  deviceCount,
  getDeviceProperties,
  isAvailable,
  isBf16Supported,
  isBuilt,
  setDevice,
  synchronize,
  withDevice,
} from './devices.js';
export { GraphedStep, type GraphedStepOptions, type StepRecorder } from './graphed_step.js';
export { Graph, type GraphedOptions, graphed } from './graphs.js';
export {
  type CudaMemoryStats,
  emptyCache,
  type Level,
  memoryInfo,
  memoryStats,
  resetPeakMemory,
} from './memory.js';
export {
  currentStream,
  defaultStream,
  Event,
  Stream,
  type StreamOptions,
  withStream,
} from './streams.js';
