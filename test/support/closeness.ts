import assert from 'node:assert/strict';
import type * as torch from '../../src/torch/index.js';

/**
 * Largest difference between two floating tensors of one shape, relative to the largest magnitude of the second,
 * which counts as at least `smallest`; 0 when they are equal to the last bit.
 */
export function deviation(actual: torch.Tensor, expected: torch.Tensor, smallest = 0): number {
  assert.deepEqual(actual.shape, expected.shape);
  const a = Array.from(actual.detach().contiguous().double().toTypedArray() as Float64Array);
  const b = Array.from(expected.detach().contiguous().double().toTypedArray() as Float64Array);
  const scale = b.reduce((max, v) => Math.max(max, Math.abs(v)), smallest);
  const worst = b.reduce((max, v, i) => Math.max(max, Object.is(a[i], v) ? 0 : Math.abs(a[i] - v) || 0), 0);
  if (a.some((v, i) => Number.isNaN(v) !== Number.isNaN(b[i]))) return Number.POSITIVE_INFINITY;
  return worst === 0 ? 0 : worst / (scale || 1);
}

/** Difference of two numbers relative to the second. */
export function relative(actual: number, expected: number): number {
  if (actual === expected) return 0;
  return Math.abs(actual - expected) / (Math.abs(expected) || 1);
}

/** Fails, naming `what` and the figure, unless `found` is at most `limit`. */
export function assertWithin(found: number, limit: number, what: string): void {
  assert.ok(
    found <= limit,
    `${what}: deviation ${found.toExponential(3)}, allowed ${limit.toExponential(3)}`,
  );
}
