import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { expandFeatures } from '../../src/evaluation/query-expansion.js';
import { smallest } from '../../src/evaluation/smallest.js';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from '../support/paths.js';

torch.setNumThreads(1);
const arrays = torch.loadSafetensors(goldenPath('eval.safetensors'));
const features = torch.cat([arrays.get('q')!, arrays.get('g')!], 0);

for (const [times, k, alpha] of [
  [1, 5, 3],
  [2, 5, 3],
  [1, 10, 0],
]) {
  test(`times ${times}, k ${k}, alpha ${alpha}: equals FastReID’s, in blocks too`, () => {
    const name = `aqe/times=${times},k=${k},alpha=${alpha}`;
    const expected = torch.cat([arrays.get(`${name}/q`)!, arrays.get(`${name}/g`)!], 0);
    for (const budget of [256, 0.001]) {
      const ours = expandFeatures(features, { times, k, alpha, budget });
      assert.ok(Number(ours.sub(expected).abs().max().item()) < 1e-5);
    }
  });
}

test('negative similarities count as 0, and with COMPAT make features NaN as FastReID’s do', () => {
  const opposite = torch.tensor([
    [1, 0],
    [-1, 0.5],
  ]);
  const ours = expandFeatures(opposite, { k: 2, alpha: 2.5 });
  assert.ok(Number(ours.sub(opposite.div(2)).abs().max().item()) < 1e-6);
  const theirs = expandFeatures(opposite, { k: 2, alpha: 2.5, keepNegative: true });
  assert.ok(theirs.isnan().all().item());
});

test('fewer images than QE_K: all of them are combined', () => {
  const two = torch.tensor([
    [1, 0],
    [0, 1],
  ]);
  const ours = expandFeatures(two, { k: 5, alpha: 0 });
  assert.deepEqual(ours.toArray(), [
    [0.5, 0.5],
    [0.5, 0.5],
  ]);
});

test('wrong numbers are refused by their keys', () => {
  assert.throws(() => expandFeatures(features, { k: 0 }), /TEST\.AQE\.QE_K must be a whole number/);
  assert.throws(() => expandFeatures(features, { times: 0 }), /TEST\.AQE\.QE_TIME must be a whole number/);
  for (const alpha of [-1, Infinity, Number.NaN]) {
    assert.throws(
      () => expandFeatures(features, { alpha }),
      /TEST\.AQE\.ALPHA must be a number from 0 on, got/,
    );
  }
});

test('the k smallest of a row equal a stable sort’s first k', () => {
  const rows = fc.integer({ min: 1, max: 30 }).chain((m) =>
    fc.tuple(
      fc.array(fc.array(fc.integer({ min: 0, max: 5 }), { minLength: m, maxLength: m }), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.integer({ min: 1, max: m }),
    ),
  );
  fc.assert(
    fc.property(rows, ([block, k]) => {
      const ours = smallest(torch.tensor(block, { dtype: torch.float32 }), k);
      const expected = block.flatMap((row) =>
        row
          .map((_, j) => j)
          .sort((a, b) => row[a] - row[b] || a - b)
          .slice(0, k),
      );
      assert.deepEqual([...ours.indices], expected);
      assert.deepEqual(
        [...ours.distances],
        expected.map((j, i) => block[Math.floor(i / k)][j]),
      );
    }),
    { numRuns: 300 },
  );
});
