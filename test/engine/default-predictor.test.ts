import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { loadImages } from '../../src/data/index.js';
import { Checkpointer, DefaultPredictor } from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import { buildModel } from '../../src/modeling/index.js';
import type * as torch from '../../src/torch/index.js';
import { tinyConfig, writeTinySet } from './tiny.js';

setQuiet(true);
const folder = mkdtempSync(join(tmpdir(), 'reid-predictor-'));
const paths = [1, 2, 3, 4, 5].map((id) => join(folder, `emoji-reid/query/000${id}_c1s1_000001_01.jpg`));
const cfg = tinyConfig(folder, ['MODEL.WEIGHTS', join(folder, 'weights.pth')]);

before(async () => {
  await writeTinySet(folder);
  await new Checkpointer(
    buildModel(cfg, () => {}),
    folder,
  ).save('weights');
});
after(() => rmSync(folder, { recursive: true, force: true }));

const rows = (t: torch.Tensor): number[][] => t.toArray() as number[][];

test('features of files, of their bytes, and of a ready batch are the same, whatever the batch size', async () => {
  const predictor = await DefaultPredictor.create(cfg);
  const fromPaths = await predictor.embed(paths);
  assert.deepEqual(fromPaths.shape, [5, 16]);
  const progress: number[] = [];
  const fromBytes = await predictor.embed(
    paths.map((path) => readFileSync(path)),
    { batchSize: 2, onProgress: (done) => progress.push(done) },
  );
  assert.deepEqual(progress, [2, 4, 5]);
  const ready = predictor.call(await loadImages(paths, 32, 32));
  for (const other of [fromBytes, ready]) {
    assert.ok(Number(other.sub(fromPaths).abs().max().item()) < 1e-5);
  }
  assert.equal(predictor.model.training, false);
  assert.deepEqual(rows(await predictor.embed(paths)), rows(fromPaths));
});

test('an image that is not there, and no images, are errors', async () => {
  const predictor = await DefaultPredictor.create(cfg);
  await assert.rejects(predictor.embed([paths[0], 'gone.jpg']), /gone\.jpg/);
  await assert.rejects(predictor.embed([]), /there are no images/);
});

test('a deployed RepVGG gives the same features', async () => {
  const own = tinyConfig(folder, [
    ...['MODEL.BACKBONE.NAME', 'build_repvgg_backbone', 'MODEL.BACKBONE.DEPTH', 'A0'],
    ...['MODEL.BACKBONE.FEAT_DIM', 1280, 'MODEL.WEIGHTS', join(folder, 'repvgg.pth')],
  ]);
  const saved = buildModel(own, () => {});
  await new Checkpointer(saved, folder).save('repvgg');
  const expected = await (await DefaultPredictor.create(own)).embed(paths);
  const deployed = await DefaultPredictor.create(own, { deploy: true });
  assert.ok([...deployed.model.stateDict().keys()].includes('backbone.stage0.rbr_reparam.weight'));
  const features = await deployed.embed(paths);
  const largest = Number(expected.abs().max().item());
  assert.ok(Number(features.sub(expected).abs().max().item()) < 1e-5 * largest);
});

test('TEST.FLIP: features are the means of those of the images and of their mirror images', async () => {
  const upright = await DefaultPredictor.create(cfg);
  const images = await loadImages(paths, 32, 32);
  const expected = upright
    .call(images)
    .add(upright.call(images.flip([3])))
    .div(2);
  const flip = ['MODEL.WEIGHTS', join(folder, 'weights.pth'), 'TEST.FLIP.ENABLED', true];
  const mirrored = await (await DefaultPredictor.create(tinyConfig(folder, flip))).embed(paths);
  assert.ok(Number(mirrored.sub(expected).abs().max().item()) < 1e-6);
  assert.ok(Number(mirrored.sub(upright.call(images)).abs().max().item()) > 1e-3);
});

test('SKIP_BROKEN: the feature of an image that cannot be read is NaN, and it is told', async () => {
  const skip = ['MODEL.WEIGHTS', join(folder, 'weights.pth'), 'DATALOADER.SKIP_BROKEN', true];
  const predictor = await DefaultPredictor.create(tinyConfig(folder, skip));
  const told: [number, string][] = [];
  const features = await predictor.embed([paths[0], 'gone.jpg', paths[1]], {
    batchSize: 2,
    onBroken: (...what) => told.push(what),
  });
  const [first, gone, second] = rows(features);
  assert.deepEqual([first, second], rows(await predictor.embed(paths.slice(0, 2))));
  assert.ok(gone.every(Number.isNaN));
  assert.deepEqual(
    told.map(([index]) => index),
    [1],
  );
  assert.match(told[0][1], /gone\.jpg|No such file|cannot open/i);
});

test('a batch of no images is refused', async () => {
  const none = tinyConfig(folder, ['MODEL.WEIGHTS', join(folder, 'weights.pth'), 'TEST.IMS_PER_BATCH', 0]);
  const predictor = await DefaultPredictor.create(none);
  await assert.rejects(predictor.embed(paths), /TEST.IMS_PER_BATCH must be a whole number from 1 on, got 0/);
});
