import type { ImageProgram } from '../../torch/image-program.js';
import type { Tensor } from '../../torch/index.js';
import type { Rng } from '../rng.js';

/**
 * A step in the preparation of one picture: draws its parameters from `rng` and writes what is to be done to the
 * picture's program, which native threads run.
 */
export type ImageTransform = (program: ImageProgram, rng: Rng) => void;

/** A step on whole batches, float32 N × 3 × H × W on the training device, that remembers earlier pictures. */
export interface BatchStep {
  /** It depends on the batches that held the last so many pictures, and on none before them. */
  readonly memory: number;
  /** Changes `images` in place. Must draw the same numbers whatever it remembers. */
  apply(images: Tensor, rng: Rng): void;
  /** Forgets everything. */
  reset(): void;
}

/** Applies `transform` with probability `prob`. */
export function randomApply(prob: number, transform: ImageTransform): ImageTransform {
  return (program, rng) => {
    if (rng.uniform() < prob) transform(program, rng);
  };
}
