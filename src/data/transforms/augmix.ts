import { ImageProgram } from '../../torch/image-program.js';
import type { Rng } from '../rng.js';
import { dirichlet } from './dirichlet.js';
import { rotation, type Size, shearing } from './geometry.js';
import type { ImageTransform } from './transform.js';

/** Chains that are mixed, one operation each, and the concentration their weights are drawn with. */
const WIDTH = 3;
const CONCENTRATION = 0.1;

/** A level, uniform from 0.1 to 1 (FastReID's severity), as a part of an operation's full strength. */
const strength = (rng: Rng): number => rng.uniform(0.1, 1) / 10;
const eitherWay = (rng: Rng, value: number): number => (rng.uniform() < 0.5 ? -value : value);
const BILINEAR = { filter: 'bilinear' } as const;

type Operation = (program: ImageProgram, rng: Rng, size: Size) => void;

const OPERATIONS: readonly Operation[] = [
  (program) => program.autocontrast(),
  (program) => program.equalize(),
  (program, rng) => program.posterize(4 - Math.trunc(4 * strength(rng))),
  (program, rng) =>
    program.affine({ ...rotation(eitherWay(rng, Math.trunc(30 * strength(rng)))), ...BILINEAR }),
  (program, rng) => program.solarize(256 - Math.trunc(256 * strength(rng))),
  (program, rng) => program.affine({ ...shearing(eitherWay(rng, 0.3 * strength(rng)), 0), ...BILINEAR }),
  (program, rng) => program.affine({ ...shearing(0, eitherWay(rng, 0.3 * strength(rng))), ...BILINEAR }),
  (program, rng, [, width]) => shift(program, [eitherWay(rng, Math.trunc((width / 3) * strength(rng))), 0]),
  (program, rng, [height]) => shift(program, [0, eitherWay(rng, Math.trunc((height / 3) * strength(rng)))]),
];

function shift(program: ImageProgram, pixels: readonly [number, number]): void {
  program.affine({ matrix: [1, 0, 0, 1], center: [0, 0], shift: pixels, ...BILINEAR });
}

/**
 * Mixes the picture, of `size`, with a mixture of itself after three random operations (Hendrycks et al., "AugMix",
 * ICLR 2020).
 */
export function augMix(size: Size): ImageTransform {
  return (program, rng) => {
    const weights = dirichlet(rng, CONCENTRATION, WIDTH);
    // Beta(a, a) is the first share of a Dirichlet distribution of two.
    const [part] = dirichlet(rng, CONCENTRATION, 2);
    const branches = weights.map((weight) => {
      const steps = new ImageProgram();
      OPERATIONS[rng.integer(OPERATIONS.length)](steps, rng, size);
      return { weight, steps: [steps] };
    });
    program.mix(part, branches);
  };
}
