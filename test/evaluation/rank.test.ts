import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { evaluateRank } from '../../src/evaluation/rank.js';

/** The definition, word for word: sort, drop, count. */
function naive(dist: number[][], qPids: number[], gPids: number[], qCams: number[], gCams: number[]) {
  const ap: number[] = [];
  const inp: number[] = [];
  const first: number[] = [];
  let dropped = 0;
  for (let q = 0; q < qPids.length; q++) {
    const order = gPids.map((_, g) => g).sort((a, b) => dist[q][a] - dist[q][b] || a - b);
    const kept = order.filter((g) => !(gPids[g] === qPids[q] && gCams[g] === qCams[q]));
    const hits = kept.flatMap((g, i) => (gPids[g] === qPids[q] ? [i + 1] : []));
    if (hits.length === 0) {
      dropped++;
      continue;
    }
    ap.push(hits.reduce((sum, rank, i) => sum + (i + 1) / rank, 0) / hits.length);
    inp.push(hits.length / hits[hits.length - 1]);
    first.push(hits[0]);
  }
  const cmc = Array.from({ length: 50 }, (_, r) => first.filter((f) => f <= r + 1).length / first.length);
  return { ap, inp, cmc, dropped };
}

// Few distinct distances, identities and cameras: ties, removals and queries without a match are common.
const problem = fc.integer({ min: 1, max: 40 }).chain((m) =>
  fc.record({
    queries: fc.array(
      fc.record({
        pid: fc.integer({ min: 0, max: 4 }),
        cam: fc.integer({ min: 0, max: 2 }),
        dist: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: m, maxLength: m }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    gPids: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: m, maxLength: m }),
    gCams: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: m, maxLength: m }),
  }),
);

test('ranking measures equal the definition, ties by gallery index included', () => {
  fc.assert(
    fc.property(problem, ({ queries, gPids, gCams }) => {
      const qPids = queries.map((q) => q.pid);
      const qCams = queries.map((q) => q.cam);
      const dist = queries.map((q) => q.dist);
      const expected = naive(dist, qPids, gPids, qCams, gCams);
      const run = () => evaluateRank(Float32Array.from(dist.flat()), qPids, gPids, qCams, gCams);
      if (expected.ap.length === 0) {
        assert.throws(run, /none of the \d+ queries has a gallery image/);
        return;
      }
      const actual = run();
      assert.deepEqual(actual.ap, expected.ap);
      assert.deepEqual(actual.inp, expected.inp);
      assert.deepEqual([...actual.cmc], expected.cmc);
      assert.equal(actual.dropped, expected.dropped);
      assert.equal(actual.counted.length + actual.dropped, queries.length);
    }),
    { numRuns: 500 },
  );
});

test('a gallery smaller than the curve: the curve goes on with its last value', () => {
  const { cmc } = evaluateRank([0.3, 0.1], [7], [7, 8], [0], [1, 1], { maxRank: 10 });
  assert.deepEqual([...cmc], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
});

test('distances that are not numbers come last', () => {
  const { ap } = evaluateRank([Number.NaN, 0.5, 2], [1], [1, 2, 3], [0], [1, 1, 1]);
  assert.deepEqual(ap, [1 / 3]);
  // A hit among them, beside one that is a number: by distance 0.1, NaN, NaN, and then by index.
  const { ap: mixed } = evaluateRank([0.1, Number.NaN, Number.NaN], [1], [1, 2, 1], [0], [1, 1, 1]);
  assert.deepEqual(mixed, [(1 + 2 / 3) / 2]);
});

test('sizes that do not fit are named', () => {
  assert.throws(
    () => evaluateRank([1, 2, 3], [1], [1, 2], [0], [0, 0]),
    /3 distances do not fit 1 query identities/,
  );
});
