import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildDist, type DistanceOptions } from '../../src/evaluation/index.js';
import { forEachQueryPositions } from '../../src/evaluation/trial.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
torch.manualSeed(6);
type Tensor = torch.Tensor;

const [n, m] = [70, 3001];
/** MiB for distances of all queries to 249 images, for so few that columns are no panel, and for all at once. */
const BUDGETS = [0.2, 0.01, 256];

/** Positions of columns of each query, and how many queries were looked at together. */
function positions(features: Tensor, columns: Tensor, options: DistanceOptions): [Tensor, number[]] {
  const found = torch.empty(columns.shape, { dtype: torch.int32 });
  const heights: number[] = [];
  forEachQueryPositions(features.clone(), n, options, (positionsOf, first, rows) => {
    heights.push(rows);
    found.narrow(0, first, rows).copy_(positionsOf(columns.narrow(0, first, rows)));
  });
  return [found, heights];
}

function check(features: Tensor, columns: Tensor, metric: string): void {
  const distances = buildDist(features.narrow(0, 0, n), features.narrow(0, n, m), metric);
  const expected = torch.sortedPositions(distances, columns);
  for (const budget of BUDGETS) {
    const [found] = positions(features, columns, { metric, budget });
    assert.ok(found.equal(expected), `${metric}, ${budget} MiB`);
  }
}

const some = (k: number): Tensor => torch.randint(-1, m, [n, k]).int();

test('positions in distances of which only pieces are there: those in whole rows', () => {
  torch.scope(() => {
    // Whole numbers, so that distances are exact and many are equal.
    const whole = torch.randint(-2, 3, [n + m, 4]).float();
    // Axes and their opposites have cosines that are exact.
    const axes = torch.eye(8).index_select(0, torch.randint(0, 8, [n + m]));
    const signs = torch
      .randint(0, 2, [n + m, 1])
      .mul(2)
      .sub(1);
    for (const k of [1, 3]) {
      check(whole, some(k), 'euclidean');
      check(axes.mul(signs), some(k), 'cosine');
    }
  });
});

test('positions of no columns, of all columns, and of the ends', () => {
  torch.scope(() => {
    const features = torch.randint(-2, 3, [n + m, 4]).float();
    check(features, torch.full([n, 2], -1).int(), 'euclidean');
    check(features, some(0), 'euclidean');
    check(features, torch.arange(m).expand([n, m]).int().contiguous(), 'euclidean');
    check(
      features,
      torch
        .tensor([[0, m - 1]])
        .expand([n, 2])
        .int()
        .contiguous(),
      'euclidean',
    );
  });
});

test('positions among distances that are not finite', () => {
  torch.scope(() => {
    const features = torch.randint(-2, 3, [n + m, 4]).float();
    for (const value of [1e30, Number.NaN]) {
      const wrong = features.clone();
      wrong.narrow(0, n + 100, 1500).fill_(value);
      check(wrong, some(2), 'euclidean');
      check(wrong, torch.randint(0, 100, [n, 2]).int(), 'euclidean');
    }
  });
});

test('queries are looked at together though no distances of a query to the whole gallery fit into the budget', () => {
  torch.scope(() => {
    const [features, columns] = [torch.randn([n + m, 8]), some(2)];
    const heights = (options: DistanceOptions): number[] => positions(features, columns, options)[1];
    assert.deepEqual(heights({ budget: 0.2 }), [70]);
    assert.ok(heights({ budget: 0.2, rerank: { k1: 5 } }).length > 1);
    assert.ok(heights({ budget: 0.2, metric: 'jaccard' }).length > 1);
  });
});
