import { logger } from '../logger.js';
import * as torch from '../torch/index.js';

let current: number | undefined;

/**
 * Of several processes each draws numbers of its own: its generators are seeded with `seed` plus its rank, while
 * `currentSeed` is the same for all.
 *
 * Seeds libtorch's default generators, and with them initialisation and dropout. Trainers built afterwards take
 * the same seed for their loaders. Without a seed, draws one and says which.
 */
export function seedAll(seed?: number): number {
  if (seed === undefined) {
    current = sharedRandom();
    logger.info(`Using a random seed: ${current}`);
  } else {
    current = seed;
  }
  torch.manualSeed(current + torch.distributed.getRank());
  return current;
}

/** A random seed, the same for all processes. */
function sharedRandom(): number {
  const own = Math.floor(Math.random() * 2 ** 32);
  const { distributed } = torch;
  return distributed.isInitialized() ? distributed.allGatherObjectSync(own)[0]! : own;
}

/** The seed of the last `seedAll`, or undefined before any. */
export function currentSeed(): number | undefined {
  return current;
}
