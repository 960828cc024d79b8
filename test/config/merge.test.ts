import assert from 'node:assert/strict';
import { homedir } from 'node:os';
import { join, relative } from 'node:path';
import test from 'node:test';
import { CfgNode, ConfigError, float, getCfg, tuple } from '../../src/config/index.js';
import { folderWith } from './files.js';

/** Fails unless `run` throws a ConfigError about `path` whose message fits. */
function refused(run: () => unknown, path: string, message: RegExp): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof ConfigError, String(error));
    assert.match(error.message, message);
    assert.equal(error.path, path);
    return true;
  });
}

test('every way of writing a value that FastReID files use', (t) => {
  const base = `
MODEL:
  BACKBONE:
    NAME: build_resnet_backbone
    DEPTH: 101x
    STRIDE_SIZE: (12, 12)
    WITH_IBN: False
  HEADS:
    SCALE: 64
    MARGIN: 0
    NECK_FEAT: after
  LOSSES:
    NAME: ("CrossEntropyLoss", "TripletLoss",)
    CE:
      EPSILON: 0.   # a float without digits behind the point
    TRI: {MARGIN: 0.0, HARD_MINING: True}
  FREEZE_LAYERS: [ backbone, b1, b2, b3, ]
  PIXEL_STD: [127.5, 127.5, 127.5]

INPUT:
  SIZE_TRAIN: [ 384, 128 ]
  SIZE_TEST: [0,]
  CROP:
    RATIO: (1., 1.)
  PADDING:
    ENABLED: on
`;
  const own = `
_BASE_: bases/base.yml

DATASETS:
  NAMES: ("Market1501",)
  TESTS: ["SmallVehicleID", 'MediumVehicleID', LargeVehicleID]
SOLVER:
  BASE_LR: 3e-4
  ETA_MIN_LR: 7.7e-5
  BIAS_LR_FACTOR: 2
  STEPS: '[40, 90]'
KD:
  MODEL_CONFIG: ("teacher/config.yaml",)
INPUT:
MODEL:
  LOSSES:
    CE:
      SCALE: 1.
OUTPUT_DIR: logs/a-b.c/d_1
`;
  const folder = folderWith(t, { 'bases/base.yml': base, 'own.yml': own });
  const cfg = getCfg().mergeFromFile(join(folder, 'own.yml'));
  const { MODEL, INPUT, SOLVER, DATASETS } = cfg;
  assert.equal(MODEL.BACKBONE.DEPTH, '101x');
  assert.deepEqual(MODEL.BACKBONE.STRIDE_SIZE, [12, 12]);
  assert.deepEqual([MODEL.HEADS.SCALE, MODEL.HEADS.MARGIN, MODEL.HEADS.NECK_FEAT], [64, 0, 'after']);
  assert.equal(cfg.getPy('MODEL.HEADS.MARGIN').kind, 'float');
  assert.deepEqual(MODEL.LOSSES.NAME, ['CrossEntropyLoss', 'TripletLoss']);
  assert.deepEqual([MODEL.LOSSES.CE.EPSILON, MODEL.LOSSES.CE.SCALE, MODEL.LOSSES.TRI.MARGIN], [0, 1, 0]);
  assert.deepEqual([MODEL.LOSSES.TRI.HARD_MINING, INPUT.PADDING.ENABLED], [true, true]);
  assert.deepEqual(MODEL.FREEZE_LAYERS, ['backbone', 'b1', 'b2', 'b3']);
  assert.deepEqual([INPUT.SIZE_TRAIN, INPUT.SIZE_TEST, INPUT.CROP.RATIO], [[384, 128], [0], [1, 1]]);
  assert.equal(cfg.getPy('INPUT.CROP.RATIO').kind, 'list');
  assert.deepEqual(DATASETS.TESTS, ['SmallVehicleID', 'MediumVehicleID', 'LargeVehicleID']);
  assert.equal(cfg.getPy('DATASETS.TESTS').kind, 'tuple');
  assert.deepEqual([SOLVER.BASE_LR, SOLVER.ETA_MIN_LR, SOLVER.BIAS_LR_FACTOR], [3e-4, 7.7e-5, 2]);
  assert.deepEqual([SOLVER.STEPS, cfg.KD.MODEL_CONFIG], [[40, 90], ['teacher/config.yaml']]);
  assert.equal(cfg.OUTPUT_DIR, 'logs/a-b.c/d_1');
});

test('_BASE_ may be relative, absolute, in the home folder, and a chain', (t) => {
  const folder = folderWith(t, { 'a/b/base.yml': 'SOLVER: {MAX_EPOCH: 7, GAMMA: 0.5}\n' });
  const fromHome = relative(homedir(), folder);
  const files = folderWith(t, {
    'absolute.yml': `_BASE_: ${folder}/a/b/base.yml\nSOLVER: {GAMMA: 0.2}\n`,
    'home.yml': `_BASE_: ~/${fromHome}/a/b/base.yml\n`,
    'sub/chain.yml': '_BASE_: ../absolute.yml\nSOLVER: {BASE_LR: 1}\n',
  });
  const epochs = (name: string) => getCfg().mergeFromFile(join(files, name)).SOLVER;
  assert.equal(epochs('home.yml').MAX_EPOCH, 7);
  const chained = epochs('sub/chain.yml');
  assert.deepEqual([chained.MAX_EPOCH, chained.GAMMA, chained.BASE_LR], [7, 0.2, 1]);
});

test('a wrong _BASE_ is named', (t) => {
  const folder = folderWith(t, {
    'x.yml': '_BASE_: y.yml\n',
    'y.yml': '_BASE_: x.yml\n',
    'gone.yml': '_BASE_: nowhere.yml\n',
    'web.yml': '_BASE_: https://example.org/base.yml\n',
    'number.yml': '_BASE_: 3\n',
    'nested.yml': 'MODEL: {_BASE_: x.yml}\n',
    'value.yml': 'MODEL: 3\n',
    'over.yml': '_BASE_: value.yml\nMODEL: {DEVICE: cpu}\n',
  });
  const merge = (name: string) => () => getCfg().mergeFromFile(join(folder, name));
  refused(merge('x.yml'), '_BASE_', /circle: .*x\.yml -> .*y\.yml -> .*x\.yml/);
  refused(merge('gone.yml'), '', /nowhere\.yml: there is no such file/);
  refused(merge('web.yml'), '_BASE_', /download it/);
  refused(merge('number.yml'), '_BASE_', /name of a file/);
  refused(merge('nested.yml'), 'MODEL._BASE_', /top of a file \(from .*nested\.yml\)/);
  refused(merge('over.yml'), 'MODEL', /section here but a value in .*value\.yml/);
  refused(() => getCfg().mergeFromList(['_BASE_', 'x.yml']), '_BASE_', /only be used at the top of a file/);
});

test('errors name the full path, the nearest key, and the file at fault', (t) => {
  const folder = folderWith(t, {
    'base.yml': 'SOLVER: {BASE_LRR: 0.1}\n',
    'own.yml': '_BASE_: base.yml\nSOLVER: {MAX_EPOCH: 3}\n',
    'section.yml': 'MODEL: {BACKBONE: resnet}\n',
    'value.yml': 'OUTPUT_DIR: {A: 1}\n',
  });
  const merge = (name: string) => () => getCfg().mergeFromFile(join(folder, name));
  refused(
    merge('own.yml'),
    'SOLVER.BASE_LRR',
    /SOLVER\.BASE_LRR \(from .*base\.yml\); did you mean SOLVER\.BASE_LR\?/,
  );
  refused(
    merge('section.yml'),
    'MODEL.BACKBONE',
    /section, but was given the str resnet .*section\.yml.*DEPTH/,
  );
  refused(merge('value.yml'), 'OUTPUT_DIR', /a value, but was given a section \(from .*value\.yml\)/);
  const list =
    (...pairs: unknown[]) =>
    () =>
      getCfg().mergeFromList(pairs, 'the command line');
  refused(list('BASE_LR', '1'), 'BASE_LR', /the command line\); did you mean SOLVER\.BASE_LR\?/);
  refused(
    list('SOLVER.CLIP_GRADIENT.ENABLED', 'True'),
    'SOLVER.CLIP_GRADIENT',
    /did you mean SOLVER\.CLIP_GRADIENTS\?/,
  );
  refused(list('solver.base_lr', '1'), 'solver', /did you mean SOLVER\?/);
  refused(list('QWERTYUIOP', '1'), 'QWERTYUIOP', /QWERTYUIOP \(from the command line\)$/);
  refused(list('OUTPUT_DIR.X', '1'), 'OUTPUT_DIR', /a value/);
  refused(list('SOLVER.BASE_LR'), 'SOLVER.BASE_LR', /in pairs KEY VALUE, but SOLVER\.BASE_LR has no value/);
});

test("types follow yacs' rules", () => {
  const set = (path: string, value: unknown) => getCfg().mergeFromList([path, value]).get(path);
  assert.equal(set('SOLVER.BASE_LR', '1'), 1);
  assert.equal(getCfg().mergeFromList(['SOLVER.BASE_LR', '1']).getPy('SOLVER.BASE_LR').kind, 'float');
  assert.deepEqual(set('DATASETS.NAMES', '["A"]'), ['A']);
  assert.deepEqual(set('SOLVER.STEPS', '(1, 2)'), [1, 2]);
  assert.equal(set('MODEL.WEIGHTS', 'None'), null);
  assert.equal(set('MODEL.BACKBONE.DEPTH', '"50"'), '50');
  assert.equal(set('SOLVER.NESTEROV', 'true'), true);
  assert.equal(set('SOLVER.NESTEROV', true), true);
  assert.equal(set('OUTPUT_DIR', 'logs/x y'), 'logs/x y');
  const wrong = (path: string, value: unknown, message: RegExp) =>
    refused(() => set(path, value), path, message);
  wrong('SOLVER.MAX_EPOCH', '1.5', /expects an int but was given the float 1\.5 .*without a point/);
  wrong('SOLVER.MAX_EPOCH', '60.', /the float 60\.0/);
  wrong('SOLVER.MAX_EPOCH', 'True', /the bool True/);
  wrong('SOLVER.BASE_LR', 'fast', /expects a float but was given the str "fast"/);
  wrong('SOLVER.BASE_LR', 'True', /the bool True/);
  wrong('SOLVER.NESTEROV', '1', /expects a bool .*True or False/);
  wrong('MODEL.BACKBONE.DEPTH', '50', /the int 50 .*write '"50"'/);
  wrong('DATASETS.NAMES', 'Market1501', /write '\("Market1501",\)'/);
  wrong('SOLVER.STEPS', '30', /write '\[30\]'/);
  refused(() => set('SOLVER.BASE_LR', () => 1), 'SOLVER.BASE_LR', /function/);
});

test('None leaves the type of a key as it was', () => {
  const cfg = getCfg().mergeFromList(['SOLVER.MAX_EPOCH', 'None']);
  assert.equal(cfg.SOLVER.MAX_EPOCH, null);
  refused(() => cfg.mergeFromList(['SOLVER.MAX_EPOCH', 'x']), 'SOLVER.MAX_EPOCH', /expects an int/);
  assert.equal(cfg.mergeFromList(['SOLVER.MAX_EPOCH', '3']).SOLVER.MAX_EPOCH, 3);
});

test('a merge that fails changes nothing', (t) => {
  const folder = folderWith(t, { 'bad.yml': 'SOLVER: {MAX_EPOCH: 1, GAMMA: fast}\n' });
  const cfg = getCfg();
  assert.throws(() => cfg.mergeFromFile(join(folder, 'bad.yml')));
  assert.throws(() => cfg.mergeFromList(['SOLVER.MAX_EPOCH', '1', 'SOLVER.GAMMA', 'fast']));
  assert.throws(() => cfg.mergeFromOther({ SOLVER: { MAX_EPOCH: 1, NO_SUCH: 2 } }));
  assert.equal(cfg.SOLVER.MAX_EPOCH, 120);
});

test('of an override given twice the last counts; a dict literal sets a section', () => {
  const cfg = getCfg().mergeFromList([
    'SOLVER.MAX_EPOCH',
    '1',
    'SOLVER.MAX_EPOCH',
    '2',
    'INPUT.FLIP',
    "{'PROB': 1}",
  ]);
  assert.deepEqual([cfg.SOLVER.MAX_EPOCH, cfg.INPUT.FLIP.PROB, cfg.INPUT.FLIP.ENABLED], [2, 1, false]);
});

test('mergeFromOther takes nodes and plain objects', () => {
  const other = getCfg();
  other.MODEL.BACKBONE.DEPTH = '50';
  other.SOLVER.STEPS = [1, 2, 3];
  const cfg = getCfg().mergeFromOther(other);
  assert.deepEqual([cfg.MODEL.BACKBONE.DEPTH, cfg.SOLVER.STEPS], ['50', [1, 2, 3]]);
  cfg.mergeFromOther({ SOLVER: { STEPS: '(4, 5)', BASE_LR: 2 } });
  assert.deepEqual([cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR], [[4, 5], 2]);
  const part = new CfgNode({ DATASETS: { NAMES: tuple('A') }, SOLVER: { GAMMA: float(1) } });
  assert.deepEqual(cfg.mergeFromOther(part).DATASETS.NAMES, ['A']);
  assert.throws(() => cfg.mergeFromOther([] as never), ConfigError);
});
