import { logger } from '../logger.js';
import * as torch from '../torch/index.js';

let current: number | undefined;

/**
 * Seeds libtorch's default generators, and with them initialisation and dropout. Trainers built afterwards take
 * the same seed for their loaders. Without a seed, draws one and says which.
 */
export function seedAll(seed?: number): number {
  if (seed === undefined) {
    current = Math.floor(Math.random() * 2 ** 32);
    logger.info(`Using a random seed: ${current}`);
  } else {
    current = seed;
  }
  torch.manualSeed(current);
  return current;
}

/** The seed of the last `seedAll`, or undefined before any. */
export function currentSeed(): number | undefined {
  return current;
}
