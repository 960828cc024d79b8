import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import { getCfg } from '../../src/config/index.js';
import {
  type Batch,
  buildReidTestLoader,
  buildReidTrainLoader,
  type DataLoader,
} from '../../src/data/index.js';
import { UNREAD } from '../../src/data/labels.js';
import { ReidEvaluator } from '../../src/evaluation/index.js';
import { setLinePrinter } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
let root = '';
const TRUNCATED = 'train/2/b_c2.jpg';
const NO_PICTURE = 'gallery/5/b_c2.png';
const warnings: string[] = [];

// Pictures of one colour: red is 40 times the identity.
async function paint(file: string): Promise<Buffer> {
  const background = { r: 40 * Number(file.split('/')[1]), g: 0, b: 0 };
  const noise = { type: 'gaussian', mean: 128, sigma: 30 } as const;
  const image = sharp({ create: { width: 16, height: 32, channels: 3, background } });
  if (file !== TRUNCATED) return image.png().toBuffer();
  const noisy = sharp({ create: { width: 16, height: 32, channels: 3, background, noise } });
  const whole = await noisy.jpeg({ quality: 95 }).toBuffer();
  return whole.subarray(0, Math.floor(whole.length / 3));
}

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'reid-broken-'));
  const train = [1, 2, 3].flatMap((id) => [`train/${id}/a_c1.png`, `train/${id}/b_c2.png`]);
  const tested = [4, 5].flatMap((id) => [
    `query/${id}/a_c1.png`,
    `gallery/${id}/b_c2.png`,
    `gallery/${id}/c_c3.png`,
  ]);
  for (const file of [...train, ...tested].map((file) => (file === 'train/2/b_c2.png' ? TRUNCATED : file))) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), file === NO_PICTURE ? 'no picture' : await paint(file));
  }
  setLinePrinter((line, level) => {
    if (level === 'warn') warnings.push(line);
  });
});
after(() => rmSync(root, { recursive: true }));

function config(skip: boolean): ReturnType<typeof getCfg> {
  const text = `MODEL.DEVICE cpu SOLVER.IMS_PER_BATCH 4 TEST.IMS_PER_BATCH 4 INPUT.SIZE_TRAIN [8,4] INPUT.SIZE_TEST [8,4] \
    INPUT.REA.ENABLED False INPUT.FLIP.ENABLED False DATALOADER.NUM_INSTANCE 2 DATALOADER.NUM_WORKERS 1 \
    DATALOADER.SAMPLER_TRAIN NaiveIdentitySampler DATALOADER.SKIP_BROKEN ${skip ? 'True' : 'False'}`;
  const cfg = getCfg().mergeFromList(text.split(/\s+/));
  cfg.DATASETS.NAMES = [`folder:${root}`];
  return cfg;
}

const trainLoader = (skip: boolean): DataLoader =>
  buildReidTrainLoader(config(skip), { seed: 3, log: () => {} });

const numbers = (tensor: torch.Tensor): number[] => (tensor.toArray() as (number | bigint)[]).map(Number);

/** Mean of red of each picture of a batch, over 40: its identity, roughly. */
const colours = ({ images }: Batch): number[] =>
  torch.scope(() => numbers(images.select(1, 0).mean([1, 2])).map((red) => Math.round(red / 40)));

test('a picture that is cut off stops the run, and is named', async () => {
  const loader = trainLoader(false);
  await assert.rejects(async () => {
    for (let i = 0; i < 3; i++) (await loader.next())?.dispose();
  }, /cannot load '.*train\/2\/b_c2.jpg'/);
  await loader.close();
});

test('with SKIP_BROKEN another picture of the identity takes its place, and one warning counts it', async () => {
  warnings.length = 0;
  const loader = trainLoader(true);
  let replaced = 0;
  for (let i = 0; i < 8; i++) {
    const batch = await loader.next();
    assert.ok(batch);
    // Identities 1, 2, 3 are classes 0, 1, 2: each picture still has its label, two of each.
    assert.deepEqual(
      colours(batch),
      numbers(batch.targets).map((target) => target + 1),
    );
    assert.ok(batch.imgPaths.every((path) => !path.endsWith('.jpg')));
    const second = batch.imgPaths.filter((path) => path.includes('/2/'));
    if (second.length > 0) {
      assert.deepEqual(
        second.map((path) => path.slice(-8)),
        ['a_c1.png', 'a_c1.png'],
      );
      replaced++;
    }
    batch.dispose();
  }
  await loader.close();
  assert.ok(replaced > 0);
  assert.equal(warnings.length, 1);
  assert.match(
    warnings[0],
    /'.*train\/2\/b_c2.jpg' cannot be loaded \(.+\) and is not trained on; 1 such so far/,
  );
});

test('with SKIP_BROKEN a test picture is marked, and evaluation leaves it out', async () => {
  warnings.length = 0;
  const { loader, protocol } = buildReidTestLoader(config(true), `folder:${root}`, { log: () => {} });
  const evaluator = new ReidEvaluator(protocol, { metric: 'euclidean' });
  const targets: number[] = [];
  for await (const batch of loader) {
    const labels = { pids: numbers(batch.targets), camids: numbers(batch.camids) };
    targets.push(...labels.pids);
    // The first feature is the identity; a black picture, were it counted, would come first for every query.
    const near = labels.pids.map((pid, i) => (pid === UNREAD ? -1 : 10 * pid + i));
    evaluator.process(torch.tensor(near).view([near.length, 1]), labels);
    batch.dispose();
  }
  await loader.close();
  assert.equal(targets.filter((target) => target === UNREAD).length, 1);
  const results = await evaluator.evaluate();
  assert.equal(results['Rank-1'], 100);
  assert.equal(results.mAP, 100);
  assert.equal(warnings.length, 2);
  assert.match(warnings[0], /gallery\/5\/b_c2.png' cannot be loaded .* is not evaluated; 1 such so far/);
  assert.match(warnings[1], /1 of 6 images could not be read and are not evaluated/);
});
