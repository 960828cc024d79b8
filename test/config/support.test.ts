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
    ['CUDNN_BENCHMARK', 'True', 'MODEL.DEVICE', 'cpu'],
  ]) {
    assert.deepEqual(refusedKeys(...pairs), [], pairs.join(' '));
  }
});

test('what is missing is refused by name', () => {
  const cases: [string, string][] = [
    ['SOLVER.OPT', 'LBFGS'],
    ['CUDNN_BENCHMARK', 'True'],
    ['SOLVER.MAX_EPOCH', 'None'],
    ['COMPAT', 'torch'],
  ];
  for (const [key, value] of cases) assert.deepEqual(refusedKeys(key, value), [key], `${key} ${value}`);
});

test('the error lists every key and says how to do without', () => {
  const cfg = withOverrides('CUDNN_BENCHMARK', 'True', 'SOLVER.OPT', 'LBFGS');
  assert.throws(
    () => assertSupported(cfg),
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(
        error.message,
        /CUDNN_BENCHMARK is True, which is not there yet: timing cuDNN's algorithms \(default False\)/,
      );
      assert.match(error.message, /SOLVER\.OPT is "LBFGS"/);
      const line = /command line: (.*)$/.exec(error.message);
      assert.equal(line?.[1], 'CUDNN_BENCHMARK False');
      return true;
    },
  );
  cfg.mergeFromList(['CUDNN_BENCHMARK', 'False', 'SOLVER.OPT', 'Adam']);
  assertSupported(cfg);
});
