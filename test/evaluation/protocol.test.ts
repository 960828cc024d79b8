import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluateRank, ReidEvaluator, type Results, type TestProtocol } from '../../src/evaluation/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';

setQuiet(true);
torch.setNumThreads(1);

// Features on a line, so that distances can be seen at a glance.
const AT = [0, 1, 2.5, 4.5, 7, 10, 10.5, 14];
const PIDS = [5, 6, 5, 6, 7, 7, 5, 6];

function evaluate(protocol: TestProtocol | number, camids = AT.map(() => 0)): Results {
  const evaluator = new ReidEvaluator(protocol, { metric: 'euclidean' });
  evaluator.process(torch.tensor(AT).view([AT.length, 1]), { pids: PIDS, camids });
  const results = evaluator.evaluate();
  evaluator.reset();
  return results as unknown as Results;
}

/** The measures of one trial, from distances worked out here; a query is never compared with itself. */
function expected(query: readonly number[], gallery: readonly number[]): Record<string, number> {
  const perQuery = query.map((q) => {
    const others = gallery.filter((g) => g !== q);
    const distances = others.map((g) => (AT[q] - AT[g]) ** 2);
    // Cameras that differ: nothing else is left out.
    return evaluateRank(
      distances,
      [PIDS[q]],
      others.map((g) => PIDS[g]),
      [0],
      others.map(() => 1),
    );
  });
  const mean = (value: (r: (typeof perQuery)[number]) => number): number =>
    (100 * perQuery.reduce((sum, one) => sum + value(one), 0)) / perQuery.length;
  return { mAP: mean((r) => r.mAP), mINP: mean((r) => r.mINP), 'Rank-1': mean((r) => r.cmc[0]) };
}

const close = (actual: number, wanted: number, name: string): void =>
  assert.ok(Math.abs(actual - wanted) < 1e-9, `${name}: ${actual} and ${wanted}`);

const ALL = AT.map((_, i) => i);

test('without cameras a picture is looked up among all others, whatever their camera numbers', async () => {
  const results = await evaluate({ trials: [{ query: ALL, gallery: ALL }], cameras: false });
  for (const [name, value] of Object.entries(expected(ALL, ALL))) close(results[name], value, name);
  assert.deepEqual(Object.keys(results), ['Rank-1', 'Rank-5', 'Rank-10', 'mAP', 'mINP', 'metric']);
});

test('with cameras the same pictures do not count, since all are from one camera', async () => {
  await assert.rejects(
    async () => evaluate({ trials: [{ query: ALL, gallery: ALL }], cameras: true }),
    /none of the 8 queries has a gallery image/,
  );
});

test('several trials give means, and sample standard deviations behind them', async () => {
  const trials = [
    { query: [2, 7, 5], gallery: [4, 0, 1, 3, 6] },
    { query: [0, 3], gallery: [1, 2, 4, 5] },
    { query: [6], gallery: [7, 5, 2] },
  ];
  const results = await evaluate({ trials, cameras: false });
  const each = trials.map(({ query, gallery }) => expected(query, gallery));
  for (const name of ['mAP', 'mINP', 'Rank-1']) {
    const values = each.map((one) => one[name]);
    const mean = (values[0] + values[1] + values[2]) / 3;
    const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 2);
    close(results[name], mean, name);
    close(results[`${name}_std`], deviation, `${name}_std`);
  }
  close(results.metric, (results.mAP + results['Rank-1']) / 2, 'metric');
  const names = ['Rank-1', 'Rank-5', 'Rank-10', 'mAP', 'mINP', 'metric'];
  assert.deepEqual(Object.keys(results), [...names, ...names.map((name) => `${name}_std`)]);
});

test('a number of queries is the protocol of most data sets', async () => {
  const camids = [0, 0, 1, 1, 0, 1, 1, 0];
  const trial = { query: [0, 1, 2], gallery: [3, 4, 5, 6, 7] };
  assert.deepEqual(await evaluate(3, camids), await evaluate({ trials: [trial], cameras: true }, camids));
});

test('a protocol that does not fit the images is refused', async () => {
  await assert.rejects(
    async () => evaluate({ trials: [{ query: [0], gallery: [8] }], cameras: true }),
    /asks for image 8, but 8 were processed/,
  );
  await assert.rejects(
    async () => evaluate({ trials: [{ query: [], gallery: ALL }], cameras: true }),
    /needs query and gallery images; got 0 and 8/,
  );
});
