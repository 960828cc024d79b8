import type { Rng } from '../rng.js';

function normal(rng: Rng): number {
  const radius = Math.sqrt(-2 * Math.log(1 - rng.uniform()));
  return radius * Math.cos(2 * Math.PI * rng.uniform());
}

/**
 * Logarithm of a gamma variate (Marsaglia and Tsang 2000, with their boost for shapes below 1): for a shape of 0.1,
 * one variate in a hundred is below 1e-20, and as a plain number might be 0.
 */
function logGamma(rng: Rng, shape: number): number {
  if (shape < 1) return logGamma(rng, shape + 1) + Math.log(1 - rng.uniform()) / shape;
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal(rng);
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - rng.uniform()) < 0.5 * x * x + d * (1 - v + Math.log(v)))
      return Math.log(d * v);
  }
}

/** `count` shares, adding up to 1, from the symmetric Dirichlet distribution. */
export function dirichlet(rng: Rng, concentration: number, count: number): number[] {
  const logs = Array.from({ length: count }, () => logGamma(rng, concentration));
  const most = Math.max(...logs);
  const values = logs.map((one) => Math.exp(one - most));
  const sum = values.reduce((a, b) => a + b);
  return values.map((value) => value / sum);
}
