import * as torch from '../../src/torch/index.js';

/**
 * Devices to run a test on: the CPU, and `cuda`, which is skipped with a reason where there is none. What CUDA needs is
 * so run on the CPU, too, as far as it goes.
 */
export const DEVICES = ['cpu', 'cuda'] as const;

/** @param count how many of them */
export function skipWithout(device: string, count = 1): { skip: string | false } {
  const found = device === 'cuda' ? torch.cuda.deviceCount() : count;
  return { skip: found < count ? `${found === 0 ? 'no' : `only ${found}`} CUDA device` : false };
}
