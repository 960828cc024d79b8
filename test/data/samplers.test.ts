import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { ImageItem } from '../../src/data/datasets/base.js';
import {
  type EndlessSampler,
  InferenceSampler,
  NaiveIdentitySampler,
  TrainingSampler,
} from '../../src/data/samplers/index.js';
import { goldenPath } from '../support/paths.js';

interface Golden {
  source: [number, number][];
  NaiveIdentitySampler: { mean_distinct_cams_per_group: number; duplicate_images_inside_a_pid_group: number };
}
const golden = JSON.parse(readFileSync(goldenPath('samplers.json'), 'utf8')) as Golden;
const items: ImageItem[] = golden.source.map(([pid, camid], i) => ({ imgPath: `${i}.jpg`, pid, camid }));

function take(sampler: EndlessSampler, count: number): number[] {
  return Array.from({ length: count }, () => sampler.next());
}

function chunks<T>(values: readonly T[], size: number): T[][] {
  return Array.from({ length: values.length / size }, (_, i) => values.slice(i * size, (i + 1) * size));
}

const identitySampler = (rank = 0, worldSize = 1, seed = 11): NaiveIdentitySampler =>
  new NaiveIdentitySampler(items, { miniBatchSize: 16, numInstances: 4, seed, rank, worldSize });

test('TrainingSampler: every epoch is a permutation, and epochs differ', () => {
  const sampler = new TrainingSampler(37, { seed: 1 });
  const [first, second] = [take(sampler, 37), take(sampler, 37)];
  for (const epoch of [first, second]) assert.equal(new Set(epoch).size, 37);
  assert.notDeepEqual(first, second);
  assert.deepEqual(take(new TrainingSampler(37, { seed: 1 }), 37), first);
  assert.deepEqual(take(new TrainingSampler(3, { seed: 1, shuffle: false }), 7), [0, 1, 2, 0, 1, 2, 0]);
});

test('TrainingSampler: processes share one stream, even across epochs of an odd length', () => {
  const whole = take(new TrainingSampler(7, { seed: 5 }), 42);
  for (const worldSize of [2, 3]) {
    for (let rank = 0; rank < worldSize; rank++) {
      const part = take(new TrainingSampler(7, { seed: 5, rank, worldSize }), 42 / worldSize);
      assert.deepEqual(
        part,
        whole.filter((_, i) => i % worldSize === rank),
      );
    }
  }
});

test('NaiveIdentitySampler has the properties of FastReID’s', () => {
  const batches = chunks(take(identitySampler(), 60 * 16), 16);
  const seen = new Set<number>();
  let cameras = 0;
  let duplicates = 0;
  for (const batch of batches) {
    const groups = chunks(batch, 4);
    const pids = groups.map((group) => {
      const own = new Set(group.map((index) => items[index].pid));
      assert.equal(own.size, 1, 'the images of an identity lie side by side');
      cameras += new Set(group.map((index) => items[index].camid)).size;
      if (new Set(group).size < 4) duplicates += 1;
      return [...own][0] as number;
    });
    assert.equal(new Set(pids).size, 4, 'an identity comes once in a batch');
    for (const pid of pids) seen.add(pid);
  }
  assert.equal(seen.size, 30);
  const reference = golden.NaiveIdentitySampler;
  assert.ok(Math.abs(cameras / 240 - reference.mean_distinct_cams_per_group) < 0.15);
  assert.ok(Math.abs(duplicates - reference.duplicate_images_inside_a_pid_group) < 25, `${duplicates}`);
});

test('NaiveIdentitySampler: a pass uses no image twice, except of identities with too few', () => {
  // 8 identities × 8 images: with P = 4, K = 4 a pass is at most 4 batches.
  const even = Array.from({ length: 64 }, (_, i) => ({ imgPath: '', pid: `m_${i >> 3}`, camid: 0 }));
  const sampler = new NaiveIdentitySampler(even, { miniBatchSize: 16, numInstances: 4, seed: 2 });
  const state = sampler.state();
  const indices: number[] = [];
  do indices.push(sampler.next());
  while (sampler.state().position !== 0 || sampler.state().rng.join() === state.rng.join());
  assert.ok(indices.length >= 32 && indices.length <= 64 && indices.length % 16 === 0, `${indices.length}`);
  assert.equal(new Set(indices).size, indices.length);
});

test('NaiveIdentitySampler: each process gets whole identities', () => {
  const [a, b] = [0, 1].map((rank) => chunks(take(identitySampler(rank, 2), 20 * 16), 16));
  assert.notDeepEqual(a, b);
  for (const batch of [...a, ...b]) {
    for (const group of chunks(batch, 4)) assert.equal(new Set(group.map((i) => items[i].pid)).size, 1);
  }
});

test('a sampler resumes where its state was taken, on any rank', () => {
  for (const make of [
    (rank: number): EndlessSampler => identitySampler(rank, 2),
    (rank: number): EndlessSampler => new TrainingSampler(13, { seed: 4, rank, worldSize: 2 }),
  ]) {
    for (const before of [0, 1, 6, 13, 200]) {
      const [first, second] = [make(0), make(1)];
      take(first, before);
      take(second, before);
      const state = JSON.parse(JSON.stringify(first.state()));
      assert.deepEqual(second.state(), state);
      const resumed = [make(0), make(1)];
      for (const one of resumed) one.loadState(state);
      assert.deepEqual(take(resumed[0], 300), take(first, 300));
      assert.deepEqual(take(resumed[1], 300), take(second, 300));
    }
  }
});

test('InferenceSampler: contiguous pieces that hold every image once', () => {
  for (const [size, worldSize] of [
    [10, 1],
    [10, 3],
    [3, 8],
  ]) {
    const pieces = Array.from(
      { length: worldSize },
      (_, rank) => new InferenceSampler(size, { rank, worldSize }),
    );
    assert.deepEqual(
      pieces.flatMap((piece) => [...piece]),
      Array.from({ length: size }, (_, i) => i),
    );
    assert.equal(
      pieces.reduce((n, { length }) => n + length, 0),
      size,
    );
  }
});

test('impossible batches are refused, with the way out', () => {
  const make = (miniBatchSize: number, numInstances: number, worldSize = 1): (() => unknown) => {
    return () => new NaiveIdentitySampler(items, { miniBatchSize, numInstances, seed: 0, worldSize });
  };
  assert.throws(make(16, 5), /set SOLVER.IMS_PER_BATCH to 15 or 20, or NUM_INSTANCE to a divisor of 16/);
  assert.throws(make(3, 4, 2), /set SOLVER.IMS_PER_BATCH to 8,/);
  assert.throws(make(16, 0), /NUM_INSTANCE must be at least 1/);
  assert.throws(make(124, 4), /30 identities there are: set SOLVER.IMS_PER_BATCH to at most 120 \(now 124\)/);
  assert.throws(make(120, 4, 4), /on 4 processes need more than the 30 identities/);
  assert.throws(() => new TrainingSampler(0, { seed: 0 }), RangeError);
  assert.throws(() => new InferenceSampler(4, { rank: 2, worldSize: 2 }), /rank must be from 0 to 1/);
});
