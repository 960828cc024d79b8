// The library as a whole.

import { readFileSync } from 'node:fs';
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

/**
 * Whether the processor multiplies bfloat16 by itself (AVX512-BF16, AMX, or ARM's BF16); without, bfloat16 is much
 * slower than float32. False where that cannot be told, which is everywhere but on Linux.
 */
export function cpuHasBfloat16(): boolean {
  try {
    return /^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b/m.test(
      readFileSync('/proc/cpuinfo', 'utf8'),
    );
  } catch {
    return false;
  }
}
