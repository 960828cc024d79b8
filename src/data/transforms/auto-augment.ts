import type { ImageProgram } from '../../torch/image-program.js';
import type { Rng } from '../rng.js';
import { rotation, shearing } from './geometry.js';
import type { ImageTransform } from './transform.js';

/** Levels run from 0 to 10; each operation makes its own of them. */
const part = (level: number): number => level / 10;
const enhancement = (level: number): number => 0.1 + 1.8 * part(level);
const eitherWay = (rng: Rng, value: number): number => (rng.uniform() < 0.5 ? -value : value);
const GREY = 128;

const drawing = (rng: Rng) => ({
  filter: rng.uniform() < 0.5 ? ('bilinear' as const) : ('bicubic' as const),
  fill: GREY,
});

type Operation = (program: ImageProgram, level: number, rng: Rng) => void;

const OPERATIONS = {
  AutoContrast: (program) => program.autocontrast(),
  Equalize: (program) => program.equalize(),
  Invert: (program) => program.invert(),
  Posterize: (program, level) => program.posterize(4 + Math.trunc(4 * part(level))),
  Solarize: (program, level) => program.solarize(Math.trunc(256 * part(level))),
  Color: (program, level) => program.saturation(enhancement(level)),
  Contrast: (program, level) => program.contrast(enhancement(level)),
  Sharpness: (program, level) => program.sharpness(enhancement(level)),
  Rotate: (program, level, rng) =>
    program.affine({ ...rotation(eitherWay(rng, 30 * part(level))), ...drawing(rng) }),
  ShearX: (program, level, rng) =>
    program.affine({ ...shearing(eitherWay(rng, 0.3 * part(level)), 0), ...drawing(rng) }),
} satisfies Record<string, Operation>;

type Step = readonly [name: keyof typeof OPERATIONS, probability: number, level: number];

/** The policy found on ImageNet: Cubuk et al., "AutoAugment", CVPR 2019, table 9. */
const POLICY: readonly (readonly [Step, Step])[] = [
  [
    ['Posterize', 0.4, 8],
    ['Rotate', 0.6, 9],
  ],
  [
    ['Solarize', 0.6, 5],
    ['AutoContrast', 0.6, 5],
  ],
  [
    ['Equalize', 0.8, 8],
    ['Equalize', 0.6, 3],
  ],
  [
    ['Posterize', 0.6, 7],
    ['Posterize', 0.6, 6],
  ],
  [
    ['Equalize', 0.4, 7],
    ['Solarize', 0.2, 4],
  ],
  [
    ['Equalize', 0.4, 4],
    ['Rotate', 0.8, 8],
  ],
  [
    ['Solarize', 0.6, 3],
    ['Equalize', 0.6, 7],
  ],
  [
    ['Posterize', 0.8, 5],
    ['Equalize', 1, 2],
  ],
  [
    ['Rotate', 0.2, 3],
    ['Solarize', 0.6, 8],
  ],
  [
    ['Equalize', 0.6, 8],
    ['Posterize', 0.4, 6],
  ],
  [
    ['Rotate', 0.8, 8],
    ['Color', 0.4, 0],
  ],
  [
    ['Rotate', 0.4, 9],
    ['Equalize', 0.6, 2],
  ],
  [
    ['Equalize', 0, 7],
    ['Equalize', 0.8, 8],
  ],
  [
    ['Invert', 0.6, 4],
    ['Equalize', 1, 8],
  ],
  [
    ['Color', 0.6, 4],
    ['Contrast', 1, 8],
  ],
  [
    ['Rotate', 0.8, 8],
    ['Color', 1, 2],
  ],
  [
    ['Color', 0.8, 8],
    ['Solarize', 0.8, 7],
  ],
  [
    ['Sharpness', 0.4, 7],
    ['Invert', 0.6, 8],
  ],
  [
    ['ShearX', 0.6, 5],
    ['Equalize', 1, 9],
  ],
  [
    ['Color', 0.4, 0],
    ['Equalize', 0.6, 3],
  ],
  [
    ['Equalize', 0.4, 7],
    ['Solarize', 0.2, 4],
  ],
  [
    ['Solarize', 0.6, 5],
    ['AutoContrast', 0.6, 5],
  ],
  [
    ['Invert', 0.6, 4],
    ['Equalize', 1, 8],
  ],
  [
    ['Color', 0.6, 4],
    ['Contrast', 1, 8],
  ],
  [
    ['Equalize', 0.8, 8],
    ['Equalize', 0.6, 3],
  ],
];

/** One of 25 pairs of operations, each operation with a probability of its own. */
export const autoAugment: ImageTransform = (program, rng) => {
  for (const [name, probability, level] of POLICY[rng.integer(POLICY.length)]) {
    if (rng.uniform() < probability) OPERATIONS[name](program, level, rng);
  }
};
