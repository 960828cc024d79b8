import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildModel, EmbeddingHead, LOSS_REGISTRY } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { deviation } from '../support/closeness.js';
import { referenceCfg } from '../support/golden.js';

const R18 = { 'MODEL.BACKBONE.DEPTH': '18x', 'MODEL.BACKBONE.FEAT_DIM': 512 };
const build = (options: Record<string, unknown> = {}) =>
  buildModel(referenceCfg({ ...R18, ...options }), () => {});

function batchOf(n: number) {
  const images = torch.randint(0, 256, [n, 3, 32, 16]).to(torch.uint8);
  const targets = torch.arange(n).div(2, { rounding_mode: 'floor' });
  return { images, targets };
}

test('uint8 and float images give the same features, and the batch is left as it was', () => {
  const model = build().eval();
  const { images } = batchOf(2);
  const floats = images.to(torch.float32);
  const copy = floats.clone();
  assert.equal(deviation(model.embed(images), model.embed({ images: floats })), 0);
  assert.equal(deviation(floats, copy), 0);
});

test('training gives named losses and the accuracy, evaluation features', () => {
  const model = build();
  assert.deepEqual(model.metrics, {});
  const batch = batchOf(4);
  for (let i = 0; i < 2; i++) {
    const losses = model.losses(batch);
    assert.deepEqual(Object.keys(losses), ['loss_cls', 'loss_triplet']);
    for (const loss of Object.values(losses)) assert.deepEqual(loss.shape, []);
    const { cls_accuracy } = model.metrics;
    assert.ok(cls_accuracy >= 0 && cls_accuracy <= 1);
  }
  assert.throws(() => model.embed(batch), /model.eval\(\) first/);
  assert.throws(() => model.call(batch.images), /needs batch.targets/);
  model.eval();
  assert.deepEqual(model.embed(batch).shape, [4, 512]);
  assert.throws(() => model.losses(batch), /model.train\(\) first/);
});

test('the pixel statistics move with the model but are no part of its state', () => {
  const keys = [...build().stateDict().keys()];
  assert.ok(!keys.some((key) => key.includes('pixel')));
  assert.equal(keys.filter((key) => key.startsWith('heads.'))[0], 'heads.weight');
});

test('losses come in the order of registration; unknown and missing names are refused', () => {
  const losses = build({ 'MODEL.LOSSES.NAME': ['Cosface', 'TripletLoss', 'CircleLoss'] }).losses(batchOf(4));
  assert.deepEqual(Object.keys(losses), ['loss_triplet', 'loss_circle', 'loss_cosface']);
  assert.throws(
    () => build({ 'MODEL.LOSSES.NAME': ['TripletLos'] }),
    /unknown loss.*Did you mean 'TripletLoss'/,
  );
  assert.throws(() => build({ 'MODEL.LOSSES.NAME': [] }), /MODEL.LOSSES.NAME is empty/);
});

test('SCALE multiplies a loss', () => {
  const cfg = referenceCfg({ ...R18, 'MODEL.LOSSES.TRI.SCALE': 3 });
  const [once, thrice] = [referenceCfg(R18), cfg].map((c) => LOSS_REGISTRY.get('TripletLoss')(c));
  torch.manualSeed(0);
  const features = torch.randn([4, 8]);
  const outputs = { cls_outputs: features, pred_class_logits: features, features };
  const { targets } = batchOf(4);
  const ratio = thrice.compute(outputs, targets).div(once.compute(outputs, targets));
  assert.ok(Math.abs(Number(ratio.item()) - 3) < 1e-5);
});

test('the head: reduction, neck, and which features the metric losses see', () => {
  const options = {
    featDim: 6,
    embeddingDim: 4,
    numClasses: 3,
    neckFeat: 'after' as const,
    poolLayer: 'GlobalAvgPool',
    clsLayer: 'Linear',
    scale: 2,
    margin: 0,
    withBnNeck: true,
    norm: 'BN',
  };
  const map = torch.randn([5, 6, 2, 2]);
  const targets = torch.zeros([5], { dtype: torch.int64 });
  const head = new EmbeddingHead(options);
  const outputs = head.call(map, targets);
  assert.ok(!(outputs instanceof torch.Tensor));
  assert.deepEqual(outputs.features.shape, [5, 4]);
  assert.deepEqual(outputs.cls_outputs.shape, [5, 3]);
  const scores = torch.linear(outputs.features, head.weight).mul(2);
  assert.equal(deviation(outputs.cls_outputs, scores), 0);
  assert.equal(deviation(outputs.pred_class_logits, scores), 0);
  assert.throws(() => head.call(map), /training needs targets/);
  const features = head.eval().call(map);
  assert.ok(features instanceof torch.Tensor);
  assert.deepEqual(features.shape, [5, 4]);

  const before = new EmbeddingHead({ ...options, embeddingDim: 0, neckFeat: 'before' }).call(map, targets);
  assert.ok(!(before instanceof torch.Tensor));
  assert.ok(deviation(before.features, map.mean([2, 3])) < 1e-6);
  assert.throws(
    () => new EmbeddingHead({ ...options, neckFeat: 'behind' as 'after' }),
    /NECK_FEAT is 'behind'/,
  );
});

test('targets may be missing from the loss only by mistake: an identity out of range is an error', () => {
  const model = build();
  const { images } = batchOf(4);
  const targets = torch.tensor([0, 0, 7, 7], { dtype: torch.int64 });
  assert.throws(() => model.losses({ images, targets }), /index 7 is out of bounds/);
});
