import assert from 'node:assert/strict';
import { test } from 'node:test';
import { euclideanDistance } from '../../src/evaluation/index.js';
import { nearestRows } from '../../src/evaluation/neighbours.js';
import { nearestAmong } from '../../src/evaluation/neighbours-among.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
torch.manualSeed(2);

/** MiB for blocks of so many rows at the beginning; later ones are taller. */
const budgetFor = (rows: number, n: number): number => (rows * 3 * 4 * n) / 2 ** 20 + 1e-9;

// Whole numbers, so that distances are exact and many are equal.
const n = 300;
const features = torch.randint(0, 3, [n, 5]).float();

for (const rows of [1, 7, 64, n]) {
  for (const k of [1, 6, 21, n, 2 * n]) {
    test(`the ${k} nearest among ${n} rows, blocks of ${rows}: those of a stable sort`, () => {
      torch.scope(() => {
        const near = nearestAmong(features, k, 'euclidean', { budget: budgetFor(rows, n) });
        const all = euclideanDistance(features, features);
        const [values, order] = torch.sort(all, { stable: true, dim: 1 }) as [torch.Tensor, torch.Tensor];
        const width = Math.min(k, n);
        assert.equal(near.k, width);
        assert.deepEqual([...near.indices], order.narrow(1, 0, width).flatten().int().tolist());
        assert.deepEqual([...near.distances], values.narrow(1, 0, width).flatten().tolist());
        assert.deepEqual([...near.largest], all.amax([1]).tolist());
      });
    });
  }
}

test('few of many: the nearest of 1,500 rows are those that each row finds by itself', () => {
  torch.scope(() => {
    const many = torch.randn([1500, 4]);
    for (const k of [1, 2]) {
      const { indices } = nearestAmong(many, k, 'euclidean', { budget: budgetFor(64, 1500) });
      const distances = euclideanDistance(many, many).clamp_min_(0);
      const [, order] = torch.sort(distances, { stable: true, dim: 1 }) as [torch.Tensor, torch.Tensor];
      assert.deepEqual([...indices], order.narrow(1, 0, k).flatten().int().tolist());
    }
  });
});

test('features that are not finite have neighbours all the same', () => {
  torch.scope(() => {
    const bad = features.clone();
    bad.select(0, 3).fill_(Number.NaN);
    const { indices, k } = nearestAmong(bad, 4, 'euclidean', { budget: budgetFor(7, n) });
    assert.deepEqual(indices, nearestRows(bad, bad, 4, 'euclidean').indices);
    assert.equal(k, 4);
  });
});

test('rounding makes no distance of equal rows negative', () => {
  torch.scope(() => {
    const equal = torch.randn([1, 100]).expand([50, 100]).contiguous();
    const { distances, indices } = nearestAmong(equal, 3, 'euclidean');
    assert.ok(distances.every((d) => d >= 0));
    assert.equal(indices.length, 150);
  });
});
