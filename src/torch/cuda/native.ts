// Access to the addon's CUDA half.

import { native } from '../native.js';

/** The functions of native/cuda.cc and cuda_graphs.cc. A stream is a number and its device, an event or a graph a number. */
export interface NativeCuda {
  currentDevice(): number;
  setDevice(device: number): void;
  synchronize(device: number): void;
  properties(device: number): {
    name: string;
    major: number;
    minor: number;
    totalMemory: number;
    multiProcessors: number;
    l2CacheSize: number;
  };
  memoryInfo(device: number): [free: number, total: number];
  memoryStats(
    device: number,
  ): Record<
    'allocatedBytes' | 'reservedBytes' | 'requestedBytes' | 'allocations' | 'segments',
    [now: number, peak: number]
  > & { retries: number; outOfMemory: number };
  resetPeak(device: number): void;
  emptyCache(): void;
  newStream(device: number, highPriority: boolean): number;
  currentStream(device: number): number;
  defaultStream(device: number): number;
  setStream(stream: number, device: number): void;
  streamQuery(stream: number, device: number): boolean;
  streamSynchronize(stream: number, device: number): void;
  recordStream(tensor: number, stream: number, device: number): void;
  newEvent(timing: boolean): number;
  freeEvent(event: number): void;
  eventRecord(event: number, stream: number, device: number): void;
  eventBlock(event: number, stream: number, device: number): void;
  eventQuery(event: number): boolean;
  eventSynchronize(event: number): void;
  eventElapsed(first: number, second: number): number;
  newGraph(): number;
  freeGraph(graph: number): void;
  graphBegin(graph: number): void;
  graphEnd(graph: number): void;
  graphReplay(graph: number): void;
}

/**
 * The CUDA half of the addon.
 *
 * @throws where libtorch or the addon has no CUDA, or no device is there, saying which and what to do
 */
export function requireCuda(): NativeCuda {
  const { cudaBuilt, cudaDevices } = native.deviceInfo();
  if (!cudaBuilt) {
    throw new Error(
      `there is no CUDA: the addon was built with libtorch ${native.version()} for the CPU. ` +
        '`npm run setup -- --cuda` builds it with CUDA',
    );
  }
  if (cudaDevices === 0) {
    throw new Error(
      'no CUDA device is here: libtorch has CUDA, but finds no GPU (see `nvidia-smi` and CUDA_VISIBLE_DEVICES)',
    );
  }
  if (native.cuda === undefined) {
    throw new Error(
      "the addon was built without CUDA's headers, so that it has CUDA operators but no streams, events, graphs or " +
        'memory statistics; `npm run setup -- --cuda --relocate` fetches a libtorch with them',
    );
  }
  return native.cuda;
}
