import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildModel, EmbeddingHead, GhostBatchNorm, type MetaArch, MGN } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { referenceCfg } from '../support/golden.js';

const R18 = {
  'MODEL.META_ARCHITECTURE': 'MGN',
  'MODEL.BACKBONE.DEPTH': '18x',
  'MODEL.BACKBONE.FEAT_DIM': 512,
  'MODEL.HEADS.EMBEDDING_DIM': 8,
};

function build(options: Record<string, unknown> = {}, log: (line: string) => void = () => {}): MetaArch {
  return buildModel(referenceCfg({ ...R18, ...options }), log);
}

const targets = torch.tensor([0, 0, 1, 1], { dtype: torch.int64 });
const imagesOf = (height: number, width = 16): torch.Tensor =>
  torch.randint(0, 256, [4, 3, height, width]).to(torch.uint8);

const CLASSIFIED = ['b1', 'b2', 'b21', 'b22', 'b3', 'b31', 'b32', 'b33'];
const COMPARED = ['b1', 'b2', 'b3', 'b22', 'b33'];

test('losses are named by branch; every kind of loss has its branches', () => {
  const model = build({ 'MODEL.LOSSES.NAME': ['Cosface', 'FocalLoss', 'CrossEntropyLoss', 'CircleLoss'] });
  const losses = model.losses({ images: imagesOf(96), targets });
  assert.deepEqual(Object.keys(losses), [
    ...CLASSIFIED.map((b) => `loss_cls_${b}`),
    ...COMPARED.map((b) => `loss_circle_${b}`),
    ...COMPARED.map((b) => `loss_cosface_${b}`),
    ...CLASSIFIED.map((b) => `loss_focal_${b}`),
  ]);
  for (const [name, loss] of Object.entries(losses)) {
    assert.deepEqual(loss.shape, [], name);
    assert.ok(loss.isfinite().item(), name);
  }
  assert.deepEqual(Object.keys(model.metrics), ['cls_accuracy']);
});

test('every trained parameter gets a gradient, and a step does not depend on what ran before', () => {
  const model = build();
  const images = imagesOf(96);
  const step = (): Map<string, torch.Tensor> => {
    model.zeroGrad();
    Object.values(model.losses({ images, targets }))
      .reduce((sum, loss) => sum.add(loss))
      .backward();
    return new Map(
      [...model.namedParameters()]
        .filter(([, p]) => p.requiresGrad)
        .map(([key, p]) => {
          assert.ok(p.grad, key);
          return [key, p.grad.clone()];
        }),
    );
  };
  const first = step();
  const second = step();
  for (const [key, grad] of first) assert.equal(deviation(second.get(key) as torch.Tensor, grad), 0, key);
});

test('evaluation: the features of eight heads, whole maps first', () => {
  const model = build().eval();
  assert.ok(model instanceof MGN);
  const images = imagesOf(96);
  const features = model.embed(images);
  assert.deepEqual(features.shape, [4, 64]);
  torch.noGrad(() => {
    const map = model.b2.call(model.backbone.call(model.normalize(images)));
    const [upper, lower] = map.chunk(2, 2);
    const at = (i: number): torch.Tensor => features.narrow(1, 8 * i, 8);
    assert.equal(deviation(at(1), model.b2_head.call(map) as torch.Tensor), 0);
    assert.equal(deviation(at(3), model.b21_head.call(upper) as torch.Tensor), 0);
    assert.equal(deviation(at(4), model.b22_head.call(lower) as torch.Tensor), 0);
  });
});

test('the branches start alike and are trained apart', () => {
  const model = build({ 'MODEL.BACKBONE.NORM': 'GhostBN', 'MODEL.BACKBONE.NORM_SPLIT': 2 });
  const state = model.stateDict();
  for (const [key, tensor] of state) {
    if (!key.startsWith('b1.')) continue;
    for (const other of ['b2.', 'b3.']) {
      const twin = state.get(other + key.slice(3)) as torch.Tensor;
      assert.equal(deviation(twin.to(torch.float32), tensor.to(torch.float32)), 0, key);
    }
  }
  const weight = (branch: string) => model.getModule(`${branch}.0.0.conv1`).ownParameters();
  const [[, first], [, second]] = [[...weight('b1')][0], [...weight('b2')][0]];
  torch.noGrad(() => first.add_(1));
  assertWithin(1, deviation(first, second), 'changed apart');
  const splits = [...model.modules()].filter((m) => m instanceof GhostBatchNorm).map((m) => m.splits);
  assert.deepEqual([...new Set(splits)], [2]);
});

test('rows that do not divide: the last strip is the smaller; too few are refused', () => {
  const features = build().eval().embed(imagesOf(80));
  assert.deepEqual(features.shape, [4, 64]);
  assert.throws(
    () => build().losses({ images: imagesOf(64), targets }),
    /map of 4 rows.*3 strips.*INPUT.SIZE_TRAIN/,
  );
});

test('the last stride shortens the first branch only', () => {
  const model = build({ 'MODEL.BACKBONE.LAST_STRIDE': 2 }).eval();
  assert.ok(model instanceof MGN);
  const rows = torch.noGrad(() => {
    const shared = model.backbone.call(model.normalize(imagesOf(96)));
    return [model.b1, model.b2, model.b3].map((neck) => neck.call(shared).shape[2]);
  });
  assert.deepEqual(rows, [3, 6, 6]);
});

test('a head of any kind, with the configuration of all others', () => {
  const model = build({
    'MODEL.HEADS.NAME': 'ClasHead',
    'MODEL.HEADS.POOL_LAYER': 'GeneralizedMeanPoolingP',
  });
  assert.deepEqual(model.eval().embed(imagesOf(96)).shape, [4, 8 * 5]);
  assert.ok(model.getModule('b33_head') instanceof EmbeddingHead);
});

test('a ResNeXt is taken apart as well, other backbones are refused by name; non-local blocks are left out', () => {
  const lines: string[] = [];
  const model = build(
    {
      'MODEL.BACKBONE.NAME': 'build_resnext_backbone',
      'MODEL.BACKBONE.DEPTH': '50x',
      'MODEL.BACKBONE.FEAT_DIM': 2048,
      'MODEL.BACKBONE.WITH_IBN': true,
      'MODEL.BACKBONE.WITH_NL': true,
    },
    (line) => lines.push(line),
  );
  assert.match(lines.join('\n'), /MGN leaves out non-local blocks/);
  assert.ok(![...model.stateDict().keys()].some((key) => key.includes('NL_')));
  assert.deepEqual(model.eval().embed(imagesOf(96)).shape, [4, 64]);
  const name = 'build_resnest_backbone';
  assert.throws(
    () => build({ 'MODEL.BACKBONE.NAME': name, 'MODEL.BACKBONE.DEPTH': '50x' }),
    new RegExp(`MGN takes.*'${name}'.*Choose build_resnet_backbone`),
  );
});
