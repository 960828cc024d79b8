import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Checkpointer } from '../../src/engine/index.js';
import { buildModel } from '../../src/modeling/index.js';
import { buildOptimizer } from '../../src/solver/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { images } from '../support/fill.js';
import { goldenTensors, referenceCfg } from '../support/golden.js';
import { checkModel } from '../support/model_fidelity.js';
import { goldenPath } from '../support/paths.js';

checkModel('osnet_x1_0', { gradients: 4e-2 });
checkModel('osnet_x0_25', { losses: 1.5e-4, gradients: 2e-4 });
checkModel('osnet_x1_0_ibn');

test('a checkpoint that FastReID wrote gives the features that FastReID computes with it', async () => {
  const cfg = referenceCfg({
    'MODEL.BACKBONE.NAME': 'build_osnet_backbone',
    'MODEL.BACKBONE.DEPTH': 'x0_25',
    'MODEL.BACKBONE.FEAT_DIM': 128,
  });
  const model = buildModel(cfg, () => {}).eval();
  const checkpointer = new Checkpointer(model, '', { optimizer: buildOptimizer(cfg, model) });
  await checkpointer.load(goldenPath('osnet_x0_25_filled.pth'));
  const report = checkpointer.lastReport;
  assert.equal(report?.loaded.length, 564);
  assert.deepEqual([report.missing, report.unexpected, report.mismatched], [[], [], []]);
  const features = model.embed(images('osnet_x0_25', 4, 64, 32));
  assertWithin(deviation(features, goldenTensors('models')('osnet_x0_25/eval_feature')), 1e-5, 'features');
});
