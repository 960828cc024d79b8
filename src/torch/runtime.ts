// The library as a whole.

import { native } from './native.js';

/** libtorch's version, as it was when the addon was built: `2.13.0+cpu`. */
export function version(): string {
  return native.version();
}

/** Threads that one operator may use. */
export function getNumThreads(): number {
  return native.getNumThreads();
}

export function setNumThreads(count: number): void {
  native.setNumThreads(count);
}

/** What the addon was built with and the processor offers. */
export function buildInfo(): { cpuCapability: string; jpeg: boolean } {
  const { cpuCapability, jpeg } = native.deviceInfo();
  return { cpuCapability, jpeg };
}
