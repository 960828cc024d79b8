import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forEachDistancePanel, type Metric } from '../../src/evaluation/distance.js';
import { buildDist } from '../../src/evaluation/index.js';
import { nearestRows } from '../../src/evaluation/neighbours.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
torch.manualSeed(4);
type Tensor = torch.Tensor;

const [n, m] = [50, 6007];
/** MiB for panels of the gallery of 9 x 9, of 50 x 873 and of 50 x 4000 distances, and for all at once. */
const BUDGETS = [1e-3, 0.5, 2.3, 256];

function checkNearest(query: Tensor, gallery: Tensor, k: number, metric: Metric): void {
  const [values, order] = torch.sort(buildDist(query, gallery, metric), { stable: true, dim: 1 }) as Tensor[];
  const first = (x: Tensor): unknown => x.narrow(1, 0, k).flatten().tolist();
  for (const budget of BUDGETS) {
    const near = nearestRows(query, gallery, k, metric, { budget, normalized: true });
    assert.equal(near.k, k);
    assert.deepEqual([...near.indices], first(order!.int()));
    assert.deepEqual([...near.distances], first(values!));
  }
}

// Whole numbers, so that distances are exact and many are equal.
const whole = (rows: number, dim = 5): Tensor => torch.randint(-2, 3, [rows, dim]).float();

test('the nearest of a gallery, in blocks and panels of any size: those of a stable sort', () => {
  torch.scope(() => {
    const [query, gallery] = [whole(n), whole(m)];
    for (const k of [1, 3, 20]) {
      checkNearest(query, gallery, k, 'euclidean');
    }
    // As cosines of features of unit length: each is one of the axes, or its opposite.
    const axes = (rows: number): Tensor =>
      torch
        .eye(8)
        .index_select(0, torch.randint(0, 8, [rows]))
        .mul(torch.randint(0, 2, [rows, 1]).mul(2).sub(1));
    checkNearest(axes(n), axes(m), 3, 'cosine');
  });
});

test('a gallery whose images come ever nearer, or are all equally near', () => {
  torch.scope(() => {
    const query = torch.zeros([n, 1]);
    checkNearest(query, torch.arange(m, 0, -1).float().view([m, 1]).div(64).floor(), 3, 'euclidean');
    checkNearest(query, torch.ones([m, 1]), 3, 'euclidean');
  });
});

test('rows that are not finite come last', () => {
  torch.scope(() => {
    const [query, gallery] = [whole(n), whole(m)];
    gallery.narrow(0, 0, 100).fill_(Number.NaN);
    gallery.narrow(0, 100, 100).fill_(Infinity);
    for (const budget of BUDGETS) {
      const { indices } = nearestRows(query, gallery, 2, 'euclidean', { budget });
      assert.ok(indices.every((column) => column >= 200));
      // Of queries that are not finite themselves, nothing is near, and the others have theirs all the same.
      const some = torch.cat([query.narrow(0, 0, n - 1), torch.full([1, 5], Number.NaN)], 0);
      const found = nearestRows(some, gallery, 2, 'euclidean', { budget });
      assert.deepEqual(found.indices.subarray(0, 2 * (n - 1)), indices.subarray(0, 2 * (n - 1)));
      assert.ok(found.distances.subarray(2 * (n - 1)).every(Number.isNaN));
    }
  });
});

test('panels are as tall as products need them, within the budget', () => {
  torch.scope(() => {
    const [query, gallery] = [torch.ones([600, 1]), torch.ones([100_000, 1])];
    for (const [budget, tall, wide] of [
      [256, 512, 16_384],
      [12, 512, 2048],
      [0.01, 29, 30],
    ] as const) {
      const seen = new Set<string>();
      let next = 0;
      forEachDistancePanel(
        query.narrow(0, 0, tall),
        gallery,
        'cosine',
        (block, row, column) => {
          assert.deepEqual([row, column], [0, next]);
          next += block.shape[1]!;
          if (next < 100_000) seen.add(`${block.shape}`);
        },
        { budget, normalized: true },
      );
      assert.equal(next, 100_000);
      assert.deepEqual([...seen], [`${tall},${wide}`]);
    }
  });
});
