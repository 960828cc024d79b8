import { type CudaDevice, deviceIndex } from './devices.js';
import { requireCuda } from './native.js';

/** A figure and the highest it has been since `resetPeakMemory`. */
export interface Level {
  now: number;
  peak: number;
}

/** What libtorch's allocator holds of a device's memory. */
export interface CudaMemoryStats {
  /** Bytes in tensors, rounded up to the allocator's blocks. */
  allocatedBytes: Level;
  /** Bytes taken from the device: those in tensors and those kept for the next ones. */
  reservedBytes: Level;
  /** Bytes asked for, without rounding. */
  requestedBytes: Level;
  /** Blocks in tensors. */
  allocations: Level;
  /** Pieces of memory taken from the device. */
  segments: Level;
  /** Times the device had no memory left, so that kept blocks were given back. */
  retries: number;
  /** Times even that did not help. */
  outOfMemory: number;
}

export function memoryStats(device: CudaDevice = 'cuda'): CudaMemoryStats {
  const { retries, outOfMemory, ...levels } = requireCuda().memoryStats(deviceIndex(device));
  const named = Object.entries(levels).map(([name, [now, peak]]) => [name, { now, peak }]);
  return { ...Object.fromEntries(named), retries, outOfMemory } as CudaMemoryStats;
}

/** Lets the peaks of `memoryStats` begin anew. */
export function resetPeakMemory(device: CudaDevice = 'cuda'): void {
  requireCuda().resetPeak(deviceIndex(device));
}

/** Bytes of a device's memory: free, whoever asks, and in all. */
export function memoryInfo(device: CudaDevice = 'cuda'): { free: number; total: number } {
  const [free, total] = requireCuda().memoryInfo(deviceIndex(device));
  return { free, total };
}

/** Gives memory that no tensor uses back to the device, for other programs; ours gets no more by it. */
export function emptyCache(): void {
  requireCuda().emptyCache();
}
