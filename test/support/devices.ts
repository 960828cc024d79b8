import * as torch from '../../src/torch/index.js';

/**
 * Devices to run a test on: the CPU, and `cuda`, which is skipped with a reason where there is none. What CUDA needs is
 * so run on the CPU, too, as far as it goes.
 */
export const DEVICES = ['cpu', 'cuda'] as const;

export function skipWithout(device: string): { skip: string | false } {
  return { skip: device === 'cuda' && !torch.cuda.isAvailable() ? 'no CUDA device' : false };
}
