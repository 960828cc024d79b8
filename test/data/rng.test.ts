import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rng } from '../../src/data/rng.js';

test('the same seed gives the same numbers, another seed or stream others', () => {
  const draw = (rng: Rng): number[] => Array.from({ length: 8 }, () => rng.uint32());
  const first = draw(new Rng(7));
  assert.deepEqual(draw(new Rng(7)), first);
  for (const other of [new Rng(8), new Rng(7, 1), new Rng(7 + 2 ** 32), new Rng(-7)]) {
    assert.notDeepEqual(draw(other), first);
  }
});

test('matches the published xoshiro128** recurrence', () => {
  // Computed by hand from the definition: rotl(s1 * 5, 7) * 9, state 1 2 3 4.
  const rng = new Rng(0);
  rng.loadState([1, 2, 3, 4]);
  assert.equal(rng.uint32(), 11520);
  assert.equal(rng.uint32(), 0);
  assert.equal(rng.uint32(), 5927040);
});

test('its state can be saved and restored, also through JSON', () => {
  const rng = new Rng(3);
  for (let i = 0; i < 100; i++) rng.uint32();
  const state = JSON.parse(JSON.stringify(rng.state()));
  const expected = Array.from({ length: 20 }, () => rng.uniform());
  const other = new Rng(99);
  other.loadState(state);
  assert.deepEqual(
    Array.from({ length: 20 }, () => other.uniform()),
    expected,
  );
  assert.throws(() => rng.loadState([1, 2]), TypeError);
});

test('draws are uniform', () => {
  const rng = new Rng(1);
  const n = 60_000;
  const faces = new Array<number>(6).fill(0);
  let sum = 0;
  for (let i = 0; i < n; i++) {
    faces[rng.integer(6)]++;
    const u = rng.uniform(2, 4);
    assert.ok(u >= 2 && u < 4);
    sum += u;
  }
  for (const count of faces) assert.ok(Math.abs(count - n / 6) < 5 * Math.sqrt(n / 6), `${faces}`);
  assert.ok(Math.abs(sum / n - 3) < 0.02);
});

test('permutations and samples hold every item at most once', () => {
  const rng = new Rng(5);
  assert.deepEqual(
    rng.permutation(50).sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => i),
  );
  const items = ['a', 'b', 'c', 'd'];
  const sample = rng.sample(items, 3);
  assert.equal(new Set(sample).size, 3);
  assert.deepEqual(items, ['a', 'b', 'c', 'd']);
  assert.throws(() => rng.sample(items, 5), /cannot draw 5 different items from 4/);
  assert.throws(() => rng.integer(0), RangeError);
});
