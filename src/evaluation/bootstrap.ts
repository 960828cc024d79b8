import * as torch from '../torch/index.js';

/** Limits between which a measure lies with 95 % confidence. */
export type Interval = [low: number, high: number];

/**
 * Confidence intervals of means over queries, by the percentile bootstrap over identities: queries of one identity
 * are alike, so that identities are drawn, with replacement, and all their queries with them.
 *
 * @param pids identity of each query
 * @param measures values by name, one for each query
 * @param samples how often identities are drawn anew
 */
export function bootstrapIntervals(
  pids: ArrayLike<number>,
  measures: Record<string, ArrayLike<number>>,
  { samples = 1000, seed = 0, confidence = 0.95 } = {},
): Record<string, Interval> {
  const numbers = new Map<number, number>();
  const identity = Array.from(pids, (pid) => {
    if (!numbers.has(pid)) numbers.set(pid, numbers.size);
    return numbers.get(pid)!;
  });
  const n = numbers.size;
  const queries = new Float64Array(n);
  for (const i of identity) queries[i]++;
  const names = Object.keys(measures);
  const sums = names.map((name) => {
    const sum = new Float64Array(n);
    identity.forEach((i, q) => {
      sum[i] += measures[name][q];
    });
    return sum;
  });
  const means = names.map(() => new Float64Array(samples));
  const generator = new torch.Generator().manualSeed(seed);
  for (let b = 0; b < samples; b++) {
    const drawn = torch.scope(
      () => torch.randint(0, n, [n], { dtype: torch.int32, generator }).toTypedArray() as Int32Array,
    );
    let count = 0;
    for (const i of drawn) count += queries[i];
    sums.forEach((sum, k) => {
      let total = 0;
      for (const i of drawn) total += sum[i];
      means[k][b] = total / count;
    });
  }
  const tail = (1 - confidence) / 2;
  const at = (sorted: Float64Array, share: number): number => sorted[Math.round(share * (samples - 1))];
  return Object.fromEntries(
    names.map((name, k) => {
      const sorted = means[k].sort();
      return [name, [at(sorted, tail), at(sorted, 1 - tail)] as Interval];
    }),
  );
}
