import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { halfOf } from '../../src/evaluation/reciprocal.js';
import { type ReRankOptions, reRank } from '../../src/evaluation/rerank.js';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from '../support/paths.js';

torch.setNumThreads(1);
const arrays = torch.loadSafetensors(goldenPath('eval.safetensors'));
const get = (name: string): torch.Tensor => {
  const tensor = arrays.get(name);
  assert.ok(tensor, name);
  return tensor;
};

function whole(features: torch.Tensor, numQuery: number, options: ReRankOptions): Float32Array {
  const m = features.shape[0] - numQuery;
  const out = new Float32Array(numQuery * m);
  reRank(features, numQuery, options, (rows, from) => out.set(rows, from * m));
  return out;
}

function furthest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
}

const SETTINGS: [number, number, number][] = [
  [20, 6, 0.3],
  [10, 1, 0.5],
  [8, 3, 0],
];
const features = torch.cat([get('q'), get('g')], 0);

for (const [k1, k2, lambda] of SETTINGS) {
  const name = `k1=${k1},k2=${k2},lambda=${lambda}`;

  test(`${name}: equals the dense reference of Zhong et al.`, () => {
    const expected = get(`re_ranking/${name}`).toTypedArray() as Float32Array;
    assert.ok(furthest(whole(features, 60, { k1, k2, lambda }), expected) < 1e-5);
  });

  test(`${name}: COMPAT equals what FastReID runs`, () => {
    const jaccard = get(`jaccard/${name}`).toTypedArray() as Float32Array;
    assert.ok(furthest(whole(features, 60, { k1, k2, lambda: 0, compat: true }), jaccard) < 1e-5);
    const expected = get(`rerank/${name}`).toTypedArray() as Float32Array;
    assert.ok(furthest(whole(features, 60, { k1, k2, lambda, compat: true }), expected) < 1e-5);
  });
}

test('a small budget, which makes blocks of one row, changes nothing', () => {
  const small = whole(features, 60, { budget: 1e-6 });
  assert.ok(furthest(small, whole(features, 60, {})) < 1e-6);
});

/** The paper, word for word, with dense matrices, in double precision. */
function dense(x: number[][], numQuery: number, k1: number, k2: number, lambda: number): number[] {
  const square = x.map((a) => x.map((b) => a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0)));
  const d = square.map((row) => row.map((v) => v / (Math.max(...row) || 1)));
  const order = square.map((row) => row.map((_, j) => j).sort((a, b) => row[a] - row[b] || a - b));
  const reciprocal = (i: number, k: number): number[] =>
    order[i].slice(0, k + 1).filter((j) => order[j].slice(0, k + 1).includes(i));
  const v = x.map((_, i) => {
    const set = reciprocal(i, k1);
    const expanded = new Set(set);
    for (const c of set) {
      const half = reciprocal(c, halfOf(k1));
      const common = half.filter((j) => set.includes(j)).length;
      if (common > (2 / 3) * half.length) for (const j of half) expanded.add(j);
    }
    const weights = x.map((_, j) => (expanded.has(j) ? Math.exp(-d[i][j]) : 0));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((w) => (sum > 0 ? w / sum : 0));
  });
  const mean = (i: number): number[] => {
    const near = order[i].slice(0, k2);
    return v[0].map((_, c) => near.reduce((sum, j) => sum + v[j][c], 0) / near.length);
  };
  const encoded = k2 === 1 ? v : x.map((_, i) => mean(i));
  return x.slice(0, numQuery).flatMap((_, q) =>
    x.slice(numQuery).map((_, j) => {
      const g = numQuery + j;
      const s = encoded[q].reduce((sum, w, c) => sum + Math.min(w, encoded[g][c]), 0);
      return lambda * d[q][g] + (1 - lambda) * (1 - s / (2 - s));
    }),
  );
}

// Few distinct whole numbers: distances are exact, equal ones and equal images common.
const problem = fc.integer({ min: 2, max: 24 }).chain((n) =>
  fc.record({
    x: fc.array(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 3, maxLength: 3 }), {
      minLength: n,
      maxLength: n,
    }),
    numQuery: fc.integer({ min: 1, max: n - 1 }),
    k1: fc.integer({ min: 1, max: 9 }),
    k2: fc.integer({ min: 1, max: 5 }),
    lambda: fc.constantFrom(0, 0.3, 1),
  }),
);

test('equals the paper’s formulas on small problems, with ties, duplicates and k beyond the gallery', () => {
  fc.assert(
    fc.property(problem, ({ x, numQuery, k1, k2, lambda }) => {
      const actual = whole(torch.tensor(x, { dtype: torch.float32 }), numQuery, {
        k1,
        k2,
        lambda,
        metric: 'euclidean',
      });
      assert.ok(furthest(actual, dense(x, numQuery, k1, k2, lambda)) < 1e-5);
    }),
    { numRuns: 300 },
  );
});

test('half of k1 is rounded to the even number', () => {
  assert.deepEqual([1, 2, 3, 5, 7, 20, 21].map(halfOf), [0, 1, 2, 2, 4, 10, 10]);
});

test('numbers that cannot be are refused by their keys', () => {
  assert.throws(() => whole(features, 60, { k1: 0 }), /TEST\.RERANK\.K1 must be a whole number/);
  assert.throws(() => whole(features, 60, { k2: 1.5 }), /TEST\.RERANK\.K2 must be a whole number/);
  for (const lambda of [-0.1, 1.1, Number.NaN]) {
    assert.throws(() => whole(features, 60, { lambda }), /TEST\.RERANK\.LAMBDA must be between 0 and 1, got/);
  }
});

test('nothing is left in memory', () => {
  const before = torch.memoryStats().liveTensors;
  whole(features, 60, {});
  // Garbage of the tests above may have gone in between.
  assert.ok(torch.memoryStats().liveTensors <= before);
});
