import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { getCfg } from '../../src/config/index.js';
import type { ImageItem } from '../../src/data/datasets/base.js';
import { buildSampler } from '../../src/data/samplers/build.js';
import {
  BalancedIdentitySampler,
  type EndlessSampler,
  ImbalancedDatasetSampler,
  SetReWeightSampler,
} from '../../src/data/samplers/index.js';
import { goldenPath } from '../support/paths.js';

interface Golden {
  source: [number, number][];
  BalancedIdentitySampler: { mean_distinct_cams_per_group: number };
}
const golden = JSON.parse(readFileSync(goldenPath('samplers.json'), 'utf8')) as Golden;
const items: ImageItem[] = golden.source.map(([pid, camid], i) => ({ imgPath: `${i}.jpg`, pid, camid }));

function take(sampler: EndlessSampler, count: number): number[] {
  return Array.from({ length: count }, () => sampler.next());
}

function chunks<T>(values: readonly T[], size: number): T[][] {
  return Array.from({ length: values.length / size }, (_, i) => values.slice(i * size, (i + 1) * size));
}

/** Identities of a batch's groups; each group must hold one alone. */
function identities(all: readonly ImageItem[], batch: readonly number[], numInstances: number): unknown[] {
  return chunks(batch, numInstances).map((group) => {
    const own = new Set(group.map((i) => all[i].pid));
    assert.equal(own.size, 1, 'the images of an identity lie side by side');
    return [...own][0];
  });
}

const count = (values: readonly unknown[], value: unknown): number =>
  values.filter((v) => v === value).length;

test('BalancedIdentitySampler has the properties of FastReID’s', () => {
  const sampler = new BalancedIdentitySampler(items, { miniBatchSize: 16, numInstances: 4, seed: 3 });
  const batches = chunks(take(sampler, 60 * 16), 16);
  let cameras = 0;
  const seen = new Set<unknown>();
  for (const batch of batches) {
    const pids = identities(items, batch, 4);
    assert.equal(new Set(pids).size, 4, 'an identity comes once in a batch');
    for (const pid of pids) seen.add(pid);
    for (const group of chunks(batch, 4)) {
      const [anchor, ...others] = group;
      const own = items.filter(({ pid }) => pid === items[anchor].pid);
      const elsewhere = own.filter(({ camid }) => camid !== items[anchor].camid);
      cameras += new Set(group.map((i) => items[i].camid)).size;
      if (elsewhere.length > 0) {
        assert.ok(
          others.every((i) => items[i].camid !== items[anchor].camid),
          'the others come from other cameras',
        );
      }
      const choice = elsewhere.length > 0 ? elsewhere.length : own.length - 1;
      if (choice >= 3) assert.equal(new Set(group).size, 4, 'no image twice where there are enough');
    }
  }
  assert.equal(seen.size, 30);
  const reference = golden.BalancedIdentitySampler.mean_distinct_cams_per_group;
  assert.ok(Math.abs(cameras / 240 - reference) < 0.15, `${cameras / 240} and ${reference}`);
});

test('BalancedIdentitySampler: in a pass every identity comes once, but for the rest that fills no batch', () => {
  // 30 identities, 7 a process and 2 processes: 28 of them in a pass.
  const options = { miniBatchSize: 14, numInstances: 2, seed: 5, worldSize: 2 };
  const [a, b] = [0, 1].map((rank) => new BalancedIdentitySampler(items, { ...options, rank }));
  for (let pass = 0; pass < 20; pass++) {
    const pids = [a, b].flatMap((sampler) =>
      chunks(take(sampler, 28), 14).flatMap((batch) => identities(items, batch, 2)),
    );
    assert.equal(new Set(pids).size, 28);
  }
});

test('SetReWeightSampler keeps the proportion of the sets in every batch of all processes', () => {
  // Set 0: 40 identities of 3 images; set 1: 6 identities, of 1, 2, 4, 8 … images.
  const sizes = [...Array.from({ length: 40 }, () => 3), 1, 2, 4, 8, 16, 32];
  const all = sizes.flatMap((n, pid) =>
    Array.from({ length: n }, (): ImageItem => ({ imgPath: '', pid, camid: 0 })),
  );
  const sets = all.map(({ pid }) => (Number(pid) < 40 ? 0 : 1));
  const options = { miniBatchSize: 12, numInstances: 2, setWeight: [3, 1], sets, seed: 8, worldSize: 2 };
  const samplers = [0, 1].map((rank) => new SetReWeightSampler(all, { ...options, rank }));
  const drawn: unknown[] = [];
  for (let batch = 0; batch < 400; batch++) {
    const pids = samplers.flatMap((sampler) => identities(all, take(sampler, 12), 2));
    assert.equal(new Set(pids).size, 12, 'an identity comes once in a batch');
    const second = pids.filter((pid) => Number(pid) >= 40);
    assert.equal(second.length, 3, 'a quarter of 12');
    drawn.push(...second);
  }
  // Chances to be among three drawn without putting back, weights 1 2 4 8 16 32, summed over all orders.
  const weights = sizes.slice(40);
  const chance = weights.map(() => 0);
  for (const [i, wi] of weights.entries()) {
    for (const [j, wj] of weights.entries()) {
      for (const [k, wk] of weights.entries()) {
        if (i === j || j === k || i === k) continue;
        const p = ((((wi / 63) * wj) / (63 - wi)) * wk) / (63 - wi - wj);
        for (const one of [i, j, k]) chance[one] += p;
      }
    }
  }
  for (const [i, p] of chance.entries()) {
    const deviation = Math.sqrt((p * (1 - p)) / 400);
    const share = count(drawn, 40 + i) / 400;
    assert.ok(Math.abs(share - p) < 4 * deviation + 0.01, `identity ${i}: ${share}, expected ${p}`);
  }
});

test('SetReWeightSampler: cameras are the sets where none are given, as FastReID has it', () => {
  const sampler = new SetReWeightSampler(items, {
    miniBatchSize: 8,
    numInstances: 2,
    setWeight: [0, 0, 4, 0],
    seed: 1,
  });
  const seenByCamera2 = new Set(items.filter(({ camid }) => camid === 2).map(({ pid }) => pid));
  for (const pid of identities(items, take(sampler, 80), 2)) assert.ok(seenByCamera2.has(pid as number));
});

test('ImbalancedDatasetSampler: identities are equally likely, and an identity’s images too', () => {
  const sizes = [1, 3, 12];
  const all = sizes.flatMap((n, pid) =>
    Array.from({ length: n }, (): ImageItem => ({ imgPath: '', pid, camid: 0 })),
  );
  const n = 12000;
  const drawn = take(new ImbalancedDatasetSampler(all, { seed: 4 }), n);
  for (const [index, { pid }] of all.entries()) {
    const p = 1 / 3 / sizes[Number(pid)];
    const share = count(drawn, index) / n;
    assert.ok(Math.abs(share - p) < 4.5 * Math.sqrt((p * (1 - p)) / n), `${index}: ${share}, expected ${p}`);
  }
});

const MAKERS: Record<string, (shard: { rank: number; worldSize: number }, seed: number) => EndlessSampler> = {
  balanced: (shard, seed) =>
    new BalancedIdentitySampler(items, { miniBatchSize: 8, numInstances: 4, seed, ...shard }),
  'set re-weight': (shard, seed) =>
    new SetReWeightSampler(items, {
      miniBatchSize: 8,
      numInstances: 2,
      setWeight: [1, 1, 1, 1],
      seed,
      ...shard,
    }),
  imbalanced: (shard, seed) => new ImbalancedDatasetSampler(items, { seed, ...shard }),
};

for (const [name, make] of Object.entries(MAKERS)) {
  test(`${name}: processes share one stream, and resume where the state was taken`, () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 400 }),
        fc.integer(),
        (worldSize, before, seed) => {
          const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
          const samplers = ranks.map((rank) => make({ rank, worldSize }, seed));
          for (const sampler of samplers) take(sampler, before);
          const state = JSON.parse(JSON.stringify(samplers[0].state()));
          for (const [rank, sampler] of samplers.entries()) {
            assert.deepEqual(sampler.state(), state);
            const resumed = make({ rank, worldSize }, seed + 1);
            resumed.loadState(state);
            assert.deepEqual(take(resumed, 60), take(sampler, 60));
          }
        },
      ),
      { numRuns: 25 },
    );
  });
}

test('impossible combinations are refused, with the way out', () => {
  const balanced =
    (miniBatchSize: number, worldSize = 1) =>
    () =>
      new BalancedIdentitySampler(items, { miniBatchSize, numInstances: 4, seed: 0, worldSize });
  assert.throws(balanced(15), /set SOLVER.IMS_PER_BATCH to 12 or 16/);
  assert.throws(
    balanced(124),
    /30 identities there are: set SOLVER.IMS_PER_BATCH to at most 120 \(now 124\)/,
  );
  // 7 identities on each of 4 processes are the most that 30 give.
  assert.throws(balanced(32, 4), /set SOLVER.IMS_PER_BATCH to at most 112 \(now 128\)/);
  balanced(28, 4)();
  assert.throws(balanced(4, 31), /use fewer processes/);

  const weighted =
    (setWeight: number[], miniBatchSize = 8, worldSize = 1) =>
    () =>
      new SetReWeightSampler(items, { miniBatchSize, numInstances: 2, setWeight, seed: 0, worldSize });
  assert.throws(weighted([1, 1]), /SET_WEIGHT has 2 numbers for 4 sets/);
  assert.throws(weighted([1, 1, 0.5, 1]), /must be integers, at least 0/);
  assert.throws(weighted([0, 0, 0, 0]), /not all 0/);
  assert.throws(
    weighted([1, 1, 1, 2]),
    /IMS_PER_BATCH 8 is no multiple of .* 5, times NUM_INSTANCE 2: set it to a multiple of 10/,
  );
  assert.throws(weighted([1, 1, 1, 0], 4, 2), /set it to a multiple of 12/);
  assert.throws(
    weighted([60, 0, 0, 0], 120),
    /needs 60 identities of set 0 .*, which has \d+: lower its weight/,
  );
  assert.throws(() => new ImbalancedDatasetSampler([], { seed: 0 }), RangeError);
});

test('the configuration names the sampler; weights are for data sets, or for cameras', () => {
  const build = (...overrides: unknown[]) =>
    buildSampler(getCfg().mergeFromList(overrides.map(String)), {
      items,
      sets: items.map(({ pid }) => (Number(pid) < 15 ? 0 : 1)),
      miniBatchSize: 16,
      seed: 1,
      rank: 0,
      worldSize: 1,
    });
  for (const name of ['BalancedIdentitySampler', 'ImbalancedDatasetSampler']) {
    assert.equal(build('DATALOADER.SAMPLER_TRAIN', name).constructor.name, name);
  }
  const weigh = (weights: string) =>
    build(
      'DATALOADER.SAMPLER_TRAIN',
      'SetReWeightSampler',
      'DATALOADER.SET_WEIGHT',
      weights,
      'DATALOADER.NUM_INSTANCE',
      4,
    );
  const pids = identities(items, take(weigh('[3, 1]'), 160), 4);
  assert.equal(pids.filter((pid) => Number(pid) < 15).length, 30);
  weigh('[1, 1, 1, 1]');
  assert.throws(
    () => weigh('[1, 1, 2]'),
    /give one for each of DATASETS.NAMES \(2\), or for each camera \(4\)/,
  );
  assert.throws(
    () => build('DATALOADER.SAMPLER_TRAIN', 'BalancedSampler'),
    /unknown sampler 'BalancedSampler'.* Known: TrainingSampler/,
  );
});
