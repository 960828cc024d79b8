import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bestMatches } from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);

/** Features at these angles, in degrees, from the query's at 0; lengths differ. */
const at = (...angles: number[]): torch.Tensor =>
  torch.tensor(
    [0, ...angles].map((angle, i) => [
      (i + 1) * Math.cos((angle * Math.PI) / 180),
      (i + 1) * Math.sin((angle * Math.PI) / 180),
    ]),
  );

const shown = (matches: ReturnType<typeof bestMatches>): unknown[] =>
  matches.map(({ row, rank, right }) => [row, rank, right]);

test('the best right ones, then the best wrong ones; the query’s own camera does not count', () => {
  const features = at(40, 10, 5, 20, 30, 90);
  const identities = ['a', 'a', 'a', 'b', 'b', 'a', 'c'];
  const cameras = [1, 2, 1, 1, 2, 2, 2];
  // By angle: 3 (b), 2 (a, but by the query's camera), 4 (b), 5 (a), 1 (a), 6 (c).
  const found = bestMatches({ features, identities, cameras }, 2);
  assert.deepEqual(shown(found), [
    [5, 3, true],
    [1, 4, true],
    [3, 1, false],
    [4, 2, false],
  ]);
  assert.ok(Math.abs(found[0]!.distance - (1 - Math.cos(Math.PI / 6))) < 1e-6);
  // Without its camera, an image of the identity is left out by no one.
  const unknown = bestMatches({ features, identities, cameras: cameras.map(() => undefined) });
  assert.deepEqual(shown(unknown), [
    [2, 2, true],
    [3, 1, false],
  ]);
});

test('without identities the nearest; with none that is right only wrong ones', () => {
  const features = at(40, 10);
  const cameras = [undefined, 1, 1];
  assert.deepEqual(shown(bestMatches({ features, cameras }, 5)), [
    [2, 1, undefined],
    [1, 2, undefined],
  ]);
  assert.deepEqual(shown(bestMatches({ features, identities: [7, 8, 8], cameras })), [[2, 1, false]]);
});

test('an image that could not be read, whose feature is NaN, does not count', () => {
  const cameras = [undefined, undefined, undefined];
  assert.deepEqual(shown(bestMatches({ features: at(Number.NaN, 10), cameras }, 5)), [[2, 1, undefined]]);
  assert.deepEqual(bestMatches({ features: at(Number.NaN, Number.NaN), cameras }), []);
});
