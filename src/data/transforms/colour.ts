import type { ImageProgram } from '../../torch/image-program.js';
import type { Rng } from '../rng.js';
import type { ImageTransform } from './transform.js';

/** How far each factor may be from 1, and the hue from 0 (in parts of the circle, at most 0.5). */
export interface JitterStrengths {
  brightness: number;
  contrast: number;
  saturation: number;
  hue: number;
}

/** Changes brightness, contrast, saturation and hue by random amounts, in random order. Those of strength 0 are left. */
export function colorJitter(strengths: JitterStrengths): ImageTransform {
  const { hue } = strengths;
  const factors = (['brightness', 'contrast', 'saturation'] as const)
    .filter((name) => strengths[name] > 0)
    .map((name) => (program: ImageProgram, rng: Rng) => {
      program[name](rng.uniform(Math.max(0, 1 - strengths[name]), 1 + strengths[name]));
    });
  const steps: ImageTransform[] = [...factors];
  if (hue > 0) steps.push((program, rng) => program.hue(rng.uniform(-hue, hue)));
  return (program, rng) => {
    for (const step of rng.shuffle([...steps])) step(program, rng);
  };
}
