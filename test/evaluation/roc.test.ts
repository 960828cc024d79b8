import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { FloatCounts } from '../../src/evaluation/counts.js';
import { RocAccumulator } from '../../src/evaluation/roc.js';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from '../support/paths.js';

torch.setNumThreads(1);
const arrays = torch.loadSafetensors(goldenPath('eval.safetensors'));
const golden = JSON.parse(readFileSync(goldenPath('eval.json'), 'utf8'));
const numbers = (name: string): number[] => arrays.get(name)!.to(torch.float64).toArray() as number[];

for (const name of ['cosine', 'tied']) {
  const expected = golden[`roc/${name}`];
  const [qPids, gPids, qCams, gCams] = ['q_pids', 'g_pids', 'q_camids', 'g_camids'].map(numbers);
  const roc = new RocAccumulator(gPids, gCams);
  const distances = arrays.get(`dist/${name}`)!.toTypedArray() as Float32Array;
  const m = gPids.length;
  qPids.forEach((pid, q) => {
    roc.add(pid, qCams[q], distances.subarray(q * m, (q + 1) * m));
  });

  test(`${name}: pairs and area are FastReID’s`, () => {
    const result = roc.result();
    assert.equal(result.genuine, expected.positives);
    assert.equal(result.impostor, expected.negatives);
    // With labels the other way round, the area is the same.
    assert.ok(Math.abs(result.auc - expected.auc) < 1e-8);
  });

  test(`${name}: COMPAT gives FastReID’s figures`, () => {
    const rates = [1e-4, 1e-3, 1e-2, 1e-1];
    roc.compatRates(rates).forEach((tpr, i) => {
      assert.ok(Math.abs(tpr - expected[`TPR@FPR=${rates[i]}`][0]) < 1e-8, String(rates[i]));
    });
  });

  test(`${name}: histograms count every pair`, () => {
    const { genuine, impostor, edges } = roc.histogram(10);
    assert.equal(edges.length, 11);
    assert.equal(
      genuine.reduce((a, b) => a + b),
      expected.positives,
    );
    assert.equal(
      impostor.reduce((a, b) => a + b),
      expected.negatives,
    );
  });
}

const problem = fc.integer({ min: 2, max: 12 }).chain((m) =>
  fc.record({
    queries: fc.array(
      fc.record({
        pid: fc.integer({ min: 0, max: 2 }),
        cam: fc.integer({ min: 0, max: 1 }),
        row: fc.array(fc.integer({ min: -3, max: 6 }), { minLength: m, maxLength: m }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    gPids: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: m, maxLength: m }),
    gCams: fc.array(fc.integer({ min: 0, max: 1 }), { minLength: m, maxLength: m }),
  }),
);

test('figures equal the definitions, pair by pair', () => {
  fc.assert(
    fc.property(problem, ({ queries, gPids, gCams }) => {
      const roc = new RocAccumulator(gPids, gCams);
      const genuine: number[] = [];
      const impostor: number[] = [];
      for (const { pid, cam, row } of queries) {
        const distances = Float32Array.from(row, (d) => d / 4);
        roc.add(pid, cam, distances);
        row.forEach((_, g) => {
          if (gPids[g] !== pid) impostor.push(distances[g]);
          else if (gCams[g] !== cam) genuine.push(distances[g]);
        });
      }
      if (genuine.length === 0 || impostor.length === 0) {
        assert.throws(() => roc.result(), /ROC needs pairs/);
        return;
      }
      const share = (list: number[], t: number): number => list.filter((d) => d <= t).length / list.length;
      const rates = [0, 0.1, 0.25, 0.5, 1];
      const result = roc.result(rates);
      const thresholds = [...new Set([...genuine, ...impostor])].sort((a, b) => a - b);
      result.points.forEach(({ tar, threshold }, i) => {
        const allowed = thresholds.filter((t) => share(impostor, t) <= rates[i] + 1e-9);
        assert.equal(tar, allowed.length === 0 ? 0 : share(genuine, allowed[allowed.length - 1]));
        if (threshold !== null) assert.equal(share(genuine, threshold), tar);
      });
      const pairs = genuine.flatMap((a) => impostor.map((b) => (a < b ? 1 : a === b ? 0.5 : 0)));
      const auc = pairs.reduce((a: number, b) => a + b, 0) / pairs.length;
      assert.ok(Math.abs(result.auc - auc) < 1e-12);
      // The curve through all thresholds, and where it meets far = 1 − tar.
      const curve = [[0, 0], ...thresholds.map((t) => [share(impostor, t), share(genuine, t)])];
      const at = curve.findIndex(([far, tar]) => far >= 1 - tar);
      const [[f0, t0], [f1, t1]] = [curve[at - 1], curve[at]];
      const along = (1 - t0 - f0) / (f1 - f0 + t1 - t0);
      assert.ok(Math.abs(result.eer - (f0 + along * (f1 - f0))) < 1e-12);
    }),
    { numRuns: 500 },
  );
});

test('a perfect separation: area 1, no errors', () => {
  const roc = new RocAccumulator([1, 2, 3], [1, 1, 1]);
  roc.add(1, 0, Float32Array.of(0.1, 0.5, 0.75));
  const { auc, eer, points } = roc.result();
  assert.equal(auc, 1);
  assert.equal(eer, 0);
  assert.ok(points.every(({ tar }) => tar === 1));
});

test('numbers are counted by value, in order, negative ones and both zeros too', () => {
  const counts = new FloatCounts();
  counts.addRow(Float32Array.of(2, -1.5, 0, -0, 2, 7, -3), Uint8Array.of(0, 0, 0, 0, 0, 1, 0));
  const up: [number, number][] = [];
  counts.forEach((value, count) => void up.push([value, count]));
  assert.deepEqual(up, [
    [-3, 1],
    [-1.5, 1],
    [0, 2],
    [2, 2],
  ]);
  const down: [number, number][] = [];
  counts.forEach((value, count) => void down.push([value, count]), { descending: true });
  assert.deepEqual(down, up.reverse());
  assert.equal(counts.total, 6);
});
