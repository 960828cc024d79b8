import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { buildDist, evaluateRank, ReidEvaluator } from '../../src/evaluation/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from '../support/paths.js';

setQuiet(true);
const arrays = torch.loadSafetensors(goldenPath('eval.safetensors'));
const values = JSON.parse(readFileSync(goldenPath('eval.json'), 'utf8')) as Record<
  string,
  Record<string, number>
>;
const get = (name: string): torch.Tensor => {
  const tensor = arrays.get(name);
  assert.ok(tensor, name);
  return tensor;
};
const numbers = (name: string): number[] => get(name).to(torch.float64).toArray() as number[];
const [qPids, gPids, qCams, gCams] = ['q_pids', 'g_pids', 'q_camids', 'g_camids'].map(numbers);

function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  return Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i])));
}

for (const metric of ['cosine', 'euclidean']) {
  test(`${metric} distance equals FastReID's`, () => {
    const ours = buildDist(get('q'), get('g'), metric).toTypedArray() as Float32Array;
    const theirs = get(`dist/${metric}`).toTypedArray() as Float32Array;
    const scale = Math.max(...theirs);
    assert.ok(maxDifference(ours, theirs) <= 1e-6 * scale);
  });
}

for (const [dist, rank] of [
  ['cosine', 'cosine'],
  ['euclidean', 'euclidean'],
  ['tied', 'tied_stable'],
]) {
  test(`ranking by ${dist} distances equals FastReID's, query by query`, () => {
    const distances = get(`dist/${dist}`).toTypedArray() as Float32Array;
    const result = evaluateRank(distances, qPids, gPids, qCams, gCams);
    const expected = values[`rank/${rank}`];
    assert.equal(result.counted.length, expected.py_valid);
    assert.ok(maxDifference(result.ap, numbers(`rank/${rank}/ap`)) < 1e-14);
    assert.ok(maxDifference(result.inp, numbers(`rank/${rank}/inp`)) < 1e-14);
    // FastReID sums the curve in float32.
    assert.ok(maxDifference(result.cmc, numbers(`rank/${rank}/cmc`)) < 1e-7);
    for (const [name, value] of [
      ['mAP', result.mAP],
      ['mINP', result.mINP],
      ['Rank-1', result.cmc[0]],
      ['Rank-5', result.cmc[4]],
      ['Rank-10', result.cmc[9]],
    ] as const) {
      assert.ok(Math.abs(value - expected[name]) < 1e-6, `${name}: ${value} and ${expected[name]}`);
    }
  });
}

test('the evaluator gives the same figures from batches of features, in FastReID’s order', async () => {
  const evaluator = new ReidEvaluator(qPids.length, { metric: 'cosine' });
  const features = torch.cat([get('q'), get('g')], 0);
  const pids = [...qPids, ...gPids];
  const camids = [...qCams, ...gCams];
  for (let from = 0; from < pids.length; from += 37) {
    const n = Math.min(37, pids.length - from);
    const labels = { pids: pids.slice(from, from + n), camids: camids.slice(from, from + n) };
    evaluator.process(features.narrow(0, from, n), labels);
  }
  const results = await evaluator.evaluate();
  assert.deepEqual(Object.keys(results), ['Rank-1', 'Rank-5', 'Rank-10', 'mAP', 'mINP', 'metric']);
  const expected = values['rank/cosine'];
  for (const name of ['Rank-1', 'Rank-5', 'Rank-10', 'mAP', 'mINP']) {
    assert.ok(Math.abs(results[name] - 100 * expected[name]) < 1e-4, name);
  }
  assert.equal(results.metric, (results.mAP + results['Rank-1']) / 2);
  assert.equal(evaluator.lastRanking?.dropped, 4);
});

test('blocks of queries give what the whole matrix gives', () => {
  const whole = torch.cdist(get('q').to(torch.float64), get('g').to(torch.float64)).pow(2);
  const ours = buildDist(
    torch.cat([get('q'), get('q'), get('q'), get('q'), get('q')], 0),
    get('g'),
    'euclidean',
  );
  const part = ours.narrow(0, 240, 60).to(torch.float64);
  assert.ok(Number(part.sub(whole).abs().max().item()) < 1e-4);
});

test('features of zero length have distance 1 from everything, and do not spoil the rest', () => {
  const d = buildDist(torch.zeros([1, 3]), torch.tensor([[1, 0, 0]]), 'cosine');
  assert.equal(d.item(), 1);
});

test('wrong metric names and shapes are refused', () => {
  assert.throws(() => buildDist(get('q'), get('g'), 'manhattan'), /unknown metric 'manhattan'; use 'cosine'/);
  assert.throws(
    () => buildDist(torch.zeros([2, 3]), torch.zeros([2, 4]), 'cosine'),
    /same dim, got \[2,3\] and \[2,4\]/,
  );
});

test('evaluation needs queries and a gallery', async () => {
  const evaluator = new ReidEvaluator(2);
  evaluator.process(torch.zeros([2, 3]), { pids: [1, 2], camids: [0, 0] });
  await assert.rejects(evaluator.evaluate(), /got 2 queries among 2 images/);
});
