import assert from 'node:assert/strict';
import test from 'node:test';
import { assertSupported, ConfigError, getCfg, unsupported } from '../../src/config/index.js';

const withOverrides = (...pairs: string[]) => getCfg().mergeFromList(pairs);
const refusedKeys = (...pairs: string[]) => unsupported(withOverrides(...pairs)).map(({ key }) => key);

test('the defaults can be built', () => {
  assert.deepEqual(unsupported(getCfg()), []);
  assertSupported(getCfg());
});

test('what there is may be used', () => {
  for (const pairs of [
    ['MODEL.BACKBONE.DEPTH', '18x', 'MODEL.BACKBONE.LAST_STRIDE', '2', 'MODEL.BACKBONE.PRETRAIN', 'True'],
    ['MODEL.HEADS.WITH_BNNECK', 'True', 'MODEL.HEADS.NECK_FEAT', 'after', 'MODEL.HEADS.EMBEDDING_DIM', '256'],
    ['MODEL.LOSSES.NAME', '("CrossEntropyLoss", "TripletLoss")', 'MODEL.LOSSES.CE.EPSILON', '-1'],
    ['SOLVER.OPT', 'SGD', 'SOLVER.SCHED', 'CosineAnnealingLR', 'SOLVER.CLIP_GRADIENTS.ENABLED', 'True'],
    ['INPUT.FLIP.ENABLED', 'True', 'INPUT.AUTOAUG.ENABLED', 'True', 'INPUT.RPT.ENABLED', 'True'],
    ['DATALOADER.SAMPLER_TRAIN', 'NaiveIdentitySampler', 'TEST.METRIC', 'euclidean', 'COMPAT', 'fastreid'],
    ['TEST.METRIC', 'jaccard', 'TEST.RERANK.ENABLED', 'True', 'TEST.AQE.ENABLED', 'True'],
    ['TEST.FLIP.ENABLED', 'True', 'TEST.ROC.ENABLED', 'True'],
    // Names nobody has heard of may have been registered by the user.
    ['MODEL.BACKBONE.NAME', 'build_my_backbone', 'DATASETS.NAMES', '("MyShop",)'],
    // Parameters of what is switched off.
    ['INPUT.CJ.HUE', '0.5', 'MODEL.FREEZE_LAYERS', '["backbone"]', 'TEST.RERANK.K1', '9'],
    ['CUDNN_BENCHMARK', 'True', 'SOLVER.AMP.ENABLED', 'True'],
  ]) {
    assert.deepEqual(refusedKeys(...pairs), [], pairs.join(' '));
  }
});

test('what is missing is refused by name', () => {
  const cases: [string, string][] = [
    ['SOLVER.OPT', 'LBFGS'],
    ['SOLVER.MAX_EPOCH', 'None'],
    ['COMPAT', 'torch'],
  ];
  for (const [key, value] of cases) assert.deepEqual(refusedKeys(key, value), [key], `${key} ${value}`);
});

test('the error lists every key', () => {
  const cfg = withOverrides('SOLVER.OPT', 'LBFGS', 'COMPAT', 'torch');
  assert.throws(
    () => assertSupported(cfg),
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(
        error.message,
        /SOLVER\.OPT is "LBFGS", which cannot train a network: it computes .* \(default "Adam"\)/,
      );
      assert.match(error.message, /COMPAT is "torch"/);
      return true;
    },
  );
  cfg.mergeFromList(['SOLVER.OPT', 'Adam', 'COMPAT', '']);
  assertSupported(cfg);
});
