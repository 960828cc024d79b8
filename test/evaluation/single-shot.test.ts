import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SingleShot } from '../../src/evaluation/single-shot.js';

/** Every gallery with one image of each identity, all alike likely. */
function draws(pids: number[]): number[][] {
  return [...new Set(pids)].reduce<number[][]>(
    (some, pid) => some.flatMap((draw) => pids.flatMap((p, g) => (p === pid ? [[...draw, g]] : []))),
    [[]],
  );
}

const problem = fc.integer({ min: 1, max: 8 }).chain((m) =>
  fc.record({
    pids: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: m, maxLength: m }),
    distances: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: m, maxLength: m }),
  }),
);

test('the curve is the mean over all galleries with one image of each identity', () => {
  fc.assert(
    fc.property(problem, ({ pids, distances }) => {
      const single = new SingleShot(
        pids,
        pids.map(() => 1),
        4,
      );
      single.add(0, 0, distances);
      if (!pids.includes(0)) return;
      const ranks = draws(pids).map((draw) => {
        const order = draw.sort((a, b) => distances[a] - distances[b] || a - b);
        return order.findIndex((g) => pids[g] === 0);
      });
      single.result().forEach((share, r) => {
        const expected = ranks.filter((rank) => rank <= r).length / ranks.length;
        assert.ok(Math.abs(share - expected) < 1e-12, `${share} ${expected}`);
      });
    }),
    { numRuns: 300 },
  );
});

test('images of the query’s identity and camera cannot be drawn; queries without a match do not count', () => {
  const single = new SingleShot([0, 0, 1], [0, 1, 1], 2);
  single.add(0, 0, [0.1, 0.9, 0.5]);
  single.add(7, 0, [0.1, 0.9, 0.5]);
  assert.deepEqual([...single.result()], [0, 1]);
});
