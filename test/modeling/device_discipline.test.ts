// What would go wrong on a GPU first, looked for on the CPU: tensors made without saying on which device, and steps
// that wait for the device.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { buildModel } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { refusingToWait } from '../support/fake_recorder.js';

torch.setNumThreads(1);

const CASES: Record<string, unknown[]> = {
  'all losses': [
    'MODEL.LOSSES.NAME',
    ['CrossEntropyLoss', 'TripletLoss', 'CircleLoss', 'Cosface', 'FocalLoss'],
  ],
  'adaptive smoothing, soft margin, soft mining': [
    ...['MODEL.LOSSES.CE.EPSILON', 0.1, 'MODEL.LOSSES.CE.ALPHA', 0.2, 'MODEL.LOSSES.TRI.MARGIN', 0],
    ...['MODEL.LOSSES.TRI.HARD_MINING', false, 'MODEL.LOSSES.TRI.NORM_FEAT', true],
    ...['MODEL.LOSSES.NAME', ['CrossEntropyLoss', 'TripletLoss']],
  ],
  ArcSoftmax: ['MODEL.HEADS.CLS_LAYER', 'ArcSoftmax', 'MODEL.HEADS.SCALE', 16, 'MODEL.HEADS.MARGIN', 0.2],
  CosSoftmax: ['MODEL.HEADS.CLS_LAYER', 'CosSoftmax', 'MODEL.HEADS.SCALE', 16, 'MODEL.HEADS.MARGIN', 0.2],
  CircleSoftmax: [
    'MODEL.HEADS.CLS_LAYER',
    'CircleSoftmax',
    'MODEL.HEADS.SCALE',
    16,
    'MODEL.HEADS.MARGIN',
    0.2,
  ],
  'generalised mean': ['MODEL.HEADS.POOL_LAYER', 'GeneralizedMeanPoolingP'],
  'ghost batch norm': ['MODEL.BACKBONE.NORM', 'GhostBN', 'MODEL.HEADS.NORM', 'GhostBN'],
  MoCo: ['MODEL.META_ARCHITECTURE', 'MoCo', 'MODEL.QUEUE_SIZE', 64],
  Distiller: ['MODEL.META_ARCHITECTURE', 'Distiller', 'KD.EMA.ENABLED', true],
  'non-local, IBN, SE': [
    ...['MODEL.BACKBONE.DEPTH', '50x', 'MODEL.BACKBONE.FEAT_DIM', 2048, 'MODEL.BACKBONE.WITH_NL', true],
    ...['MODEL.BACKBONE.WITH_IBN', true, 'MODEL.BACKBONE.WITH_SE', true],
  ],
  ViT: [
    ...['MODEL.BACKBONE.NAME', 'build_vit_backbone', 'MODEL.BACKBONE.DEPTH', 'small'],
    ...['MODEL.BACKBONE.FEAT_DIM', 768],
  ],
};

const isTensor = (value: unknown): boolean =>
  value instanceof torch.Tensor || (Array.isArray(value) && value.some(isTensor));

/** Calls that make a tensor of nothing, without a device. */
function madeAnywhere(body: () => void): string[] {
  const found: string[] = [];
  torch.observeOperators(({ name, args, result }) => {
    const placed = args.some(
      (arg) => isTensor(arg) || (arg as { device?: unknown } | null)?.device !== undefined,
    );
    if (isTensor(result) && !placed) found.push(name);
  }, body);
  return found;
}

for (const [name, options] of Object.entries(CASES)) {
  test(`${name}: tensors are made where the model is, and nothing is read back`, () => {
    const cfg = getCfg().mergeFromList([
      ...['MODEL.DEVICE', 'cpu', 'MODEL.BACKBONE.DEPTH', '18x', 'MODEL.BACKBONE.FEAT_DIM', 512],
      ...['MODEL.HEADS.NUM_CLASSES', 5, 'INPUT.SIZE_TRAIN', [64, 32], ...options],
    ]);
    const model = buildModel(cfg, () => undefined);
    model.prepareTraining();
    const images = torch.zeros([4, 3, ...cfg.INPUT.SIZE_TRAIN], { dtype: torch.uint8 });
    const targets = torch.tensor([0n, 0n, 1n, 1n]);
    const step = (): void =>
      torch.scope(() => {
        const terms = Object.values(model.losses({ images, targets }));
        terms.reduce((sum, term) => sum.add(term)).backward();
      });
    assert.deepEqual(
      madeAnywhere(() => refusingToWait(step)),
      [],
    );
    model.eval();
    assert.deepEqual(
      madeAnywhere(() => torch.scope(() => void model.embed(images))),
      [],
    );
  });
}

test('the check finds both', () => {
  assert.deepEqual(
    madeAnywhere(() => void torch.arange(3)),
    ['arange'],
  );
  assert.deepEqual(
    madeAnywhere(() => void torch.arange(3, { device: 'cpu' })),
    [],
  );
  assert.throws(() => refusingToWait(() => torch.ones([1]).item()), /must not wait: item/);
  assert.throws(() => refusingToWait(() => torch.ones([1]).nonzero()), /must not wait: nonzero/);
});
