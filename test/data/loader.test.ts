import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import sharp from 'sharp';
import { getCfg } from '../../src/config/index.js';
import {
  type Batch,
  buildReidTestLoader,
  buildReidTrainLoader,
  type DataLoader,
  type TrainLoaderOptions,
} from '../../src/data/index.js';
import * as torch from '../../src/torch/index.js';
import { skipWithout } from '../support/devices.js';
import { repoRoot } from '../support/paths.js';

let root = '';
const IDS = 6;
const PER_ID = 5;

// Pictures of one colour each, which tells them apart after resizing: red = 8 · identity, green = 8 · picture.
before(async () => {
  root = mkdtempSync(join(tmpdir(), 'reid-loader-'));
  const folder = (name: string): string => join(root, 'Market-1501-v15.09.15', name);
  for (const name of ['bounding_box_train', 'query', 'bounding_box_test'])
    mkdirSync(folder(name), { recursive: true });
  for (let id = 1; id <= IDS; id++) {
    for (let k = 0; k < PER_ID; k++) {
      const background = { r: 40 * id, g: 40 * k, b: 0 };
      const image = sharp({ create: { width: 12, height: 20, channels: 3, background } });
      const jpeg = await image.jpeg({ quality: 95 }).toBuffer();
      const name = `000${id}_c${k + 1}s1_000000_00.jpg`;
      writeFileSync(join(folder('bounding_box_train'), name), jpeg);
      writeFileSync(join(folder(k === 0 ? 'query' : 'bounding_box_test'), name), jpeg);
    }
  }
});
after(() => rmSync(root, { recursive: true }));

function config(changes: readonly (string | number | boolean | number[])[] = []): ReturnType<typeof getCfg> {
  const cfg = getCfg();
  cfg.MODEL.DEVICE = 'cpu';
  cfg.INPUT.SIZE_TRAIN = [24, 16];
  cfg.INPUT.SIZE_TEST = [24, 16];
  cfg.INPUT.FLIP.ENABLED = true;
  cfg.INPUT.PADDING.ENABLED = true;
  cfg.INPUT.REA.ENABLED = true;
  cfg.SOLVER.IMS_PER_BATCH = 8;
  cfg.TEST.IMS_PER_BATCH = 7;
  cfg.DATALOADER.NUM_WORKERS = 2;
  cfg.DATALOADER.SAMPLER_TRAIN = 'NaiveIdentitySampler';
  for (let i = 0; i < changes.length; i += 2) {
    const path = String(changes[i]).split('.');
    let node = cfg as unknown as Record<string, unknown>;
    for (const key of path.slice(0, -1)) node = node[key] as Record<string, unknown>;
    node[path[path.length - 1]] = changes[i + 1];
  }
  return cfg;
}

const quiet = (): void => {};
const train = (cfg = config(), options: TrainLoaderOptions = {}): DataLoader =>
  buildReidTrainLoader(cfg, { root, log: quiet, seed: 3, ...options });

/** What a batch holds, as one comparable string. */
function fingerprint(batch: Batch): string {
  const bytes = Buffer.from((batch.images.toTypedArray() as Float32Array).buffer).toString('base64');
  const text = JSON.stringify(
    [batch.targets.tolist(), batch.camids.tolist(), batch.imgPaths, bytes],
    (_, value) => (typeof value === 'bigint' ? Number(value) : value),
  );
  batch.dispose();
  return text;
}

async function take(loader: DataLoader, count: number): Promise<string[]> {
  const result: string[] = [];
  while (result.length < count) result.push(fingerprint((await loader.next())!));
  return result;
}

test('a training batch: keys, types, shapes, and labels that fit the pictures', async () => {
  const loader = train(
    config(['INPUT.FLIP.ENABLED', false, 'INPUT.PADDING.ENABLED', false, 'INPUT.REA.ENABLED', false]),
  );
  assert.equal(loader.dataset.numClasses, IDS);
  assert.equal(loader.length, Number.POSITIVE_INFINITY);
  using batch = (await loader.next())!;
  assert.deepEqual(batch.images.shape, [8, 3, 24, 16]);
  assert.equal(batch.images.dtype, torch.float32);
  assert.equal(batch.targets.dtype, torch.int64);
  assert.equal(batch.camids.dtype, torch.int64);
  const targets = batch.targets.tolist() as number[];
  const camids = batch.camids.tolist() as number[];
  assert.equal(new Set(targets).size, 2);
  for (let i = 0; i < 8; i++) {
    const [red, green] = [0, 1].map((channel) => batch.images.select(0, i).select(0, channel));
    assert.ok(Math.abs(Number(red.mean().item()) - 40 * (targets[i] + 1)) < 4);
    assert.ok(Math.abs(Number(green.mean().item()) - 40 * camids[i]) < 4);
    assert.match(batch.imgPaths[i], new RegExp(`000${targets[i] + 1}_c${camids[i] + 1}s1`));
  }
  await loader.close();
});

test('batches depend on the seed, not on workers, prefetching or time', async () => {
  const first = train();
  const reference = await take(first, 9);
  await first.close();
  for (const workers of [0, 1, 8]) {
    const loader = train(config(['DATALOADER.NUM_WORKERS', workers]));
    assert.deepEqual(await take(loader, 9), reference);
    await loader.close();
  }
  const loader = train();
  const asked = await Promise.all(Array.from({ length: 9 }, () => loader.next()));
  assert.deepEqual(
    asked.map((batch) => fingerprint(batch!)),
    reference,
  );
  await loader.close();
  const other = train(config(), { seed: 4 });
  assert.notDeepEqual(await take(other, 9), reference);
  await other.close();
});

for (const sampler of [
  'TrainingSampler',
  'NaiveIdentitySampler',
  'BalancedIdentitySampler',
  'SetReWeightSampler',
  'ImbalancedDatasetSampler',
]) {
  test(`a resumed loader yields exactly what the saved one would have: ${sampler}, one process and two`, async () => {
    for (const [consumed, shards] of [
      [0, [{}]],
      [5, [{}]],
      [5, [0, 1].map((rank) => ({ rank, worldSize: 2 }))],
    ] as const) {
      const overrides = ['DATALOADER.SAMPLER_TRAIN', sampler, 'DATALOADER.SET_WEIGHT', [1]];
      const cfg = config([...overrides, 'DATALOADER.NUM_WORKERS', 2]);
      const next: string[][] = [];
      for (const shard of shards) {
        const saved = train(cfg, shard);
        await take(saved, consumed);
        const state = JSON.parse(JSON.stringify(saved.state()));
        const resumed = train(config([...overrides, 'DATALOADER.NUM_WORKERS', 1]), { ...shard, seed: 77 });
        await take(resumed, 2); // has prefetched batches that must be forgotten
        resumed.loadState(state);
        next.push(await take(saved, 6));
        assert.deepEqual(await take(resumed, 6), next.at(-1), `after ${consumed}`);
        await saved.close();
        await resumed.close();
      }
      if (shards.length === 2) assert.notDeepEqual(next[0], next[1], 'processes load different pictures');
    }
  });
}

test('a loader resumed with random patches pastes the pieces that the saved one would have pasted', async () => {
  const cfg = config(['INPUT.RPT.ENABLED', true]);
  const saved = train(cfg);
  await take(saved, 17); // 136 pictures: more than the hundred from which on patches are pasted
  const state = JSON.parse(JSON.stringify(saved.state()));
  const next = await take(saved, 3);
  const plain = train(config(), { seed: 3 });
  await take(plain, 17);
  assert.notDeepEqual(await take(plain, 3), next, 'patches are pasted');
  await plain.close();
  const resumed = train(cfg, { seed: 77 });
  await take(resumed, 1);
  resumed.loadState(state);
  assert.deepEqual(await take(resumed, 3), next);
  assert.deepEqual(resumed.state(), saved.state());
  await resumed.close();
  await saved.close();
});

test('a cache changes nothing in what comes out; one that makes no sense is refused', async () => {
  const first = train();
  const reference = await take(first, 9);
  await first.close();
  const folder = mkdtempSync(join(tmpdir(), 'reid-loader-'));
  for (const cache of ['memory', folder, folder]) {
    const loader = train(config(['DATALOADER.CACHE', cache]));
    assert.deepEqual(await take(loader, 9), reference);
    await loader.close();
  }
  assert.equal(readdirSync(folder).length, IDS * PER_ID);
  const file = join(folder, readdirSync(folder)[0]);
  assert.throws(() => train(config(['DATALOADER.CACHE', file])), /CACHE '.*' must be 'memory' or a folder/);
  assert.throws(
    () => train(config(['DATALOADER.CACHE', 'memory', 'DATALOADER.CACHE_GIB', 0])),
    /CACHE_GIB must be above 0/,
  );
  rmSync(folder, { recursive: true });
});

test('iterating over an endless loader goes on where the last iteration stopped', async () => {
  const whole = train();
  const reference = await take(whole, 4);
  const loader = train();
  const seen: string[] = [];
  for (let round = 0; round < 2; round++) {
    let count = 0;
    for await (const batch of loader) {
      seen.push(fingerprint(batch));
      if (++count === 2) break;
    }
  }
  assert.deepEqual(seen, reference);
  await whole.close();
  await loader.close();
});

test('processes see different pictures; shares must come out even', async () => {
  const cfg = config(['DATALOADER.SAMPLER_TRAIN', 'TrainingSampler', 'SOLVER.IMS_PER_BATCH', 30]);
  const [a, b] = [0, 1].map((rank) => train(cfg, { rank, worldSize: 2 }));
  const [first, second] = await Promise.all([a.next(), b.next()]);
  assert.equal(new Set([...first!.imgPaths, ...second!.imgPaths]).size, 30);
  await a.close();
  await b.close();
  assert.throws(
    () => train(config(), { worldSize: 3 }),
    /IMS_PER_BATCH 8 cannot be shared by 3 processes: set it to 9/,
  );
  assert.throws(
    () => train(config(['SOLVER.IMS_PER_BATCH', 64, 'DATALOADER.SAMPLER_TRAIN', 'TrainingSampler'])),
    /30/,
  );
  assert.throws(() => train(config(['DATALOADER.SAMPLER_TRAIN', 'X'])), /unknown sampler 'X'/);
  assert.throws(() => train(config(), { worldSize: 2, seed: undefined }), /same explicit seed/);
});

test('a test loader: queries first, in order, each pass from the start', async () => {
  const { loader, numQuery } = buildReidTestLoader(config(), 'Market1501', { root, log: quiet });
  assert.equal(numQuery, IDS);
  assert.equal(loader.length, 5);
  const passes: string[][] = [];
  for (let pass = 0; pass < 2; pass++) {
    const paths: string[] = [];
    const sizes: number[] = [];
    for await (const batch of loader) {
      paths.push(...batch.imgPaths);
      sizes.push(batch.images.shape[0]);
      batch.dispose();
    }
    assert.deepEqual(sizes, [7, 7, 7, 7, 2]);
    passes.push(paths);
  }
  assert.deepEqual(passes[0], passes[1]);
  assert.equal(passes[0].filter((path) => path.includes('query')).length, IDS);
  assert.ok(passes[0].slice(0, IDS).every((path) => path.includes('query')));
  for await (const _ of loader) break;
  let count = 0;
  for await (const batch of loader) count += batch.imgPaths.length;
  assert.equal(count, 30);
  await loader.close();
});

test('a picture that cannot be read makes its own batch fail, and no other', async () => {
  const broken = mkdtempSync(join(tmpdir(), 'reid-loader-'));
  const own = (name: string): string => join(broken, 'Market-1501-v15.09.15', name);
  for (const name of ['bounding_box_train', 'query', 'bounding_box_test']) {
    mkdirSync(own(name), { recursive: true });
    for (let i = 1; i <= 4; i++) {
      const image = sharp({ create: { width: 9, height: 9, channels: 3, background: '#abc' } });
      const bytes = await image.jpeg().toBuffer();
      writeFileSync(
        join(own(name), `000${i}_c1.jpg`),
        i === 3 && name === 'query' ? bytes.subarray(0, bytes.length - 8) : bytes,
      );
    }
  }
  const { loader } = buildReidTestLoader(config(['TEST.IMS_PER_BATCH', 2]), 'Market1501', {
    root: broken,
    log: quiet,
  });
  const outcomes: string[] = [];
  for (let i = 0; i < 5; i++) {
    outcomes.push(
      await loader.next().then(
        (batch) => (batch ? 'batch' : 'end'),
        (error: Error) => error.message,
      ),
    );
  }
  assert.match(outcomes[1], /cannot load '.*query\/0003_c1\.jpg': broken JPEG/);
  assert.deepEqual([outcomes[0], ...outcomes.slice(2)], ['batch', 'batch', 'batch', 'end']);
  await loader.close();
  rmSync(broken, { recursive: true });
});

test('closing releases what was prefetched, twice is harmless, and ends iteration', async () => {
  const live = (): number => torch.memoryStats().liveTensors;
  const start = live();
  const loader = train();
  (await loader.next())!.dispose();
  const late = loader.next();
  await Promise.all([loader.close(), loader.close()]);
  (await late)?.dispose();
  assert.equal(await loader.next(), undefined);
  for await (const _ of loader) assert.fail('closed');
  assert.equal(live(), start);
});

test('cuda: batches are those of the CPU; one is sent ahead, no more', skipWithout('cuda'), async () => {
  const cpu = train();
  const expected = await take(cpu, 6);
  await cpu.close();
  torch.ones([1], { device: 'cuda' }).dispose();
  const allocated = (): number => torch.cuda.memoryStats().allocatedBytes.now;
  const start = allocated();
  const loader = train(config(['MODEL.DEVICE', 'cuda']));
  const pictures = 4 * 8 * 3 * 24 * 16;
  for (const one of expected) {
    const batch = (await loader.next())!;
    assert.equal(batch.images.device.type, 'cuda');
    assert.equal(fingerprint(batch), one);
    const end = performance.now() + 5000;
    while (allocated() === start && performance.now() < end) await setTimeout(5);
    const ahead = allocated() - start;
    assert.ok(ahead >= pictures && ahead < 2 * pictures, `${ahead} bytes`);
  }
  const state = loader.state();
  const next = fingerprint((await loader.next())!);
  loader.loadState(state);
  assert.equal(fingerprint((await loader.next())!), next, 'what was sent for nothing is not handed out');
  await loader.close();
  assert.equal(allocated(), start);
});

test('a batch outlives a scope that is open while it is made', async () => {
  const loader = train();
  let batch: Batch | undefined;
  {
    using _ = torch.scope();
    batch = await loader.next();
  }
  assert.deepEqual(batch!.images.shape, [8, 3, 24, 16]);
  batch!.dispose();
  assert.throws(() => batch!.images.shape, TypeError);
  await loader.close();
});

test('a process may end at any moment, with work still in hand', () => {
  const script = `
    import { buildReidTrainLoader } from '${join(repoRoot, 'dist/src/data/index.js')}';
    import { getCfg } from '${join(repoRoot, 'dist/src/config/index.js')}';
    const cfg = getCfg();
    cfg.MODEL.DEVICE = 'cpu';
    cfg.SOLVER.IMS_PER_BATCH = 24;
    const loader = buildReidTrainLoader(cfg, { root: ${JSON.stringify(root)}, seed: 1, log() {} });
    await loader.next();
    loader.next();
    if (process.argv[1] === 'exit') process.exit(0);
    if (process.argv[1] === 'throw') throw new Error('on purpose');
  `;
  for (const [how, status] of [
    ['exit', 0],
    ['throw', 1],
    ['return', 0],
  ] as const) {
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script, how], {
      timeout: 60_000,
    });
    assert.equal(child.signal, null, `${how}: ${child.stderr}`);
    assert.equal(child.status, status, `${how}: ${child.stderr}`);
  }
});
