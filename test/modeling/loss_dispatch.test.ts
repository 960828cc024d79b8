import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  buildLosses,
  crossEntropyLoss,
  focalLoss,
  type HeadOutputs,
  pairwiseCircleLoss,
  pairwiseCosface,
  tripletLoss,
} from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { deviation } from '../support/closeness.js';
import { referenceCfg } from '../support/golden.js';

const logits = torch.randn([8, 5]);
const features = torch.randn([8, 16]);
const targets = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3], { dtype: torch.int64 });
// Losses must take the logits with margins, not those for the accuracy.
const outputs: HeadOutputs = { cls_outputs: logits, pred_class_logits: logits.mul(0), features };

const SETTINGS = {
  'MODEL.LOSSES.CE.EPSILON': -1,
  'MODEL.LOSSES.CE.ALPHA': 0.3,
  'MODEL.LOSSES.CE.SCALE': 2,
  'MODEL.LOSSES.TRI.MARGIN': 0.7,
  'MODEL.LOSSES.TRI.NORM_FEAT': true,
  'MODEL.LOSSES.TRI.HARD_MINING': false,
  'MODEL.LOSSES.TRI.SCALE': 3,
  'MODEL.LOSSES.CIRCLE.MARGIN': 0.4,
  'MODEL.LOSSES.CIRCLE.GAMMA': 16,
  'MODEL.LOSSES.CIRCLE.SCALE': 4,
  'MODEL.LOSSES.COSFACE.MARGIN': 0.1,
  'MODEL.LOSSES.COSFACE.GAMMA': 32,
  'MODEL.LOSSES.COSFACE.SCALE': 5,
  'MODEL.LOSSES.FL.ALPHA': 0.5,
  'MODEL.LOSSES.FL.GAMMA': 3,
  'MODEL.LOSSES.FL.SCALE': 6,
};

const EXPECTED: Record<string, { name: string; value: torch.Tensor }> = {
  loss_cls: {
    name: 'CrossEntropyLoss',
    value: crossEntropyLoss(logits, targets, { epsilon: -1, alpha: 0.3 }).mul(2),
  },
  loss_triplet: {
    name: 'TripletLoss',
    value: tripletLoss(features, targets, { margin: 0.7, normFeat: true, hardMining: false }).mul(3),
  },
  loss_circle: {
    name: 'CircleLoss',
    value: pairwiseCircleLoss(features, targets, { margin: 0.4, gamma: 16 }).mul(4),
  },
  loss_cosface: {
    name: 'Cosface',
    value: pairwiseCosface(features, targets, { margin: 0.1, gamma: 32 }).mul(5),
  },
  loss_focal: { name: 'FocalLoss', value: focalLoss(logits, targets, { alpha: 0.5, gamma: 3 }).mul(6) },
};

test('every loss takes its settings and its scale; together they come in one order', () => {
  const names = Object.values(EXPECTED).map(({ name }) => name);
  const losses = buildLosses(referenceCfg({ ...SETTINGS, 'MODEL.LOSSES.NAME': names.toReversed() }));
  assert.deepEqual(
    losses.map(({ key }) => key),
    Object.keys(EXPECTED),
  );
  for (const loss of losses) {
    assert.equal(deviation(loss.compute(outputs, targets), EXPECTED[loss.key].value), 0, loss.key);
  }
});

test('a loss named twice, an unknown one and none at all list the names', () => {
  const build = (...names: string[]) => buildLosses(referenceCfg({ 'MODEL.LOSSES.NAME': names }));
  const all = 'CrossEntropyLoss, TripletLoss, CircleLoss, Cosface, FocalLoss';
  assert.throws(() => build('TripletLoss', 'TripletLoss'), new RegExp(`names 'TripletLoss' twice.*${all}`));
  assert.throws(() => build('Focal'), new RegExp(`unknown loss 'Focal'.*${all}`));
  assert.throws(() => build(), new RegExp(`LOSSES.NAME is empty.*${all}`));
});

test('the focal loss is finite where probabilities vanish or are certain', () => {
  for (const gamma of [0, 0.5, 1, 2]) {
    const extreme = torch.tensor(
      [
        [300, -300, 0],
        [300, -300, 0],
      ],
      { requiresGrad: true },
    );
    const loss = focalLoss(extreme, torch.tensor([0, 1], { dtype: torch.int64 }), { alpha: 1, gamma });
    loss.backward();
    assert.equal(loss.item(), 300, `gamma ${gamma}`);
    assert.ok(extreme.grad?.isfinite().all().item(), `gamma ${gamma}`);
  }
});
