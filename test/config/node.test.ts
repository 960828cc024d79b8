import assert from 'node:assert/strict';
import test from 'node:test';
import { inspect } from 'node:util';
import { CfgNode, ConfigError, getCfg, getGlobalCfg, setGlobalCfg } from '../../src/config/index.js';

test('values are read and written as properties', () => {
  const cfg = getCfg();
  cfg.SOLVER.BASE_LR = 1;
  cfg.MODEL.LOSSES.NAME = ['TripletLoss'];
  cfg.MODEL.BACKBONE.DEPTH = '50';
  assert.deepEqual(
    [cfg.SOLVER.BASE_LR, cfg.MODEL.LOSSES.NAME, cfg.MODEL.BACKBONE.DEPTH],
    [1, ['TripletLoss'], '50'],
  );
  assert.equal(cfg.getPy('SOLVER.BASE_LR').kind, 'float');
  assert.equal(cfg.getPy('MODEL.LOSSES.NAME').kind, 'tuple');
  assert.equal(cfg.set('SOLVER.MAX_EPOCH', 3).get('SOLVER.MAX_EPOCH'), 3);
  assert.equal(cfg.MODEL.BACKBONE, cfg.get('MODEL.BACKBONE'));
  assert.equal(getCfg().SOLVER.BASE_LR, 3e-4);
});

test('wrong writes are errors with the full path', () => {
  const cfg = getCfg();
  const loose = cfg as unknown as Record<string, Record<string, unknown>>;
  const fails = (run: () => void, message: RegExp) => assert.throws(run, { name: 'ConfigError', message });
  fails(() => {
    loose.SOLVER.BASE_LRR = 1;
  }, /SOLVER\.BASE_LRR; did you mean SOLVER\.BASE_LR\?/);
  fails(() => {
    loose.SOLVER.MAX_EPOCH = 1.5;
  }, /SOLVER\.MAX_EPOCH expects an int/);
  fails(() => {
    loose.SOLVER = {};
  }, /SOLVER is a section/);
  fails(() => delete loose.SOLVER.BASE_LR, /SOLVER\.BASE_LR cannot be deleted/);
  fails(() => loose.SOLVER.BASE_LRR, /did you mean SOLVER\.BASE_LR/);
  fails(() => cfg.get('SOLVER.NOPE.X'), /SOLVER\.NOPE\.X/);
  fails(() => cfg.getPy('SOLVER'), /SOLVER is a section/);
  fails(() => cfg.set('OUTPUT_DIR.X', 1), /OUTPUT_DIR\.X/);
  assert.throws(() => (cfg.SOLVER.STEPS as number[]).push(1), TypeError);
});

test('freezing reaches every section; clones stay frozen; defrosting allows writes again', () => {
  const cfg = getCfg().freeze();
  const fails = (run: () => void) =>
    assert.throws(run, { name: 'ConfigError', message: /SOLVER\.GAMMA.*frozen/ });
  fails(() => {
    cfg.SOLVER.GAMMA = 1;
  });
  fails(() => cfg.mergeFromList(['SOLVER.GAMMA', '1']));
  fails(() => cfg.mergeFromOther({ SOLVER: { GAMMA: 1 } }));
  assert.throws(() => cfg.define('SOLVER.NEW', 1), /frozen/);
  const copy = cfg.clone();
  assert.ok(copy.isFrozen() && copy.SOLVER.isFrozen());
  copy.defrost().SOLVER.GAMMA = 1;
  assert.deepEqual([copy.SOLVER.GAMMA, cfg.SOLVER.GAMMA], [1, 0.1]);
});

test('a cloned section names its full path in errors', () => {
  const solver = getCfg().SOLVER.clone() as unknown as Record<string, unknown>;
  assert.throws(() => {
    solver.BASE_LRR = 1;
  }, /SOLVER\.BASE_LRR; did you mean SOLVER\.BASE_LR\?/);
});

test('COMPUTED_ keys may be set once, frozen or not', () => {
  const cfg = getCfg().freeze();
  cfg.COMPUTED_ITERS = 7;
  cfg.SOLVER.COMPUTED_STEPS = [1, 2];
  cfg.COMPUTED_ITERS = 7;
  assert.deepEqual([cfg.COMPUTED_ITERS, cfg.SOLVER.COMPUTED_STEPS], [7, [1, 2]]);
  assert.throws(() => {
    cfg.COMPUTED_ITERS = 8;
  }, /COMPUTED_ITERS is computed and already has another value/);
  assert.equal(cfg.clone().COMPUTED_ITERS, 7);
  assert.equal(getCfg().mergeFromOther(cfg).COMPUTED_ITERS, 7);
});

test('projects add keys of their own', () => {
  const cfg = getCfg()
    .define('MODEL.HEADS.PFC', { ENABLED: false, SAMPLE_RATE: 0.1 })
    .define('TEST.RECALLS', [1, 10]);
  cfg.mergeFromList(['MODEL.HEADS.PFC.ENABLED', 'True', 'TEST.RECALLS', '[1, 2, 4]']);
  assert.deepEqual(cfg.get('MODEL.HEADS.PFC'), cfg.MODEL.HEADS.get('PFC'));
  assert.deepEqual([cfg.get('MODEL.HEADS.PFC.ENABLED'), cfg.get('TEST.RECALLS')], [true, [1, 2, 4]]);
  assert.throws(
    () => cfg.mergeFromList(['MODEL.HEADS.PFC.SAMPLE_RAT', '1']),
    /did you mean MODEL\.HEADS\.PFC\.SAMPLE_RATE/,
  );
  assert.throws(() => cfg.define('TEST.RECALLS', 1), /defined already/);
  assert.throws(() => cfg.define('NO.SUCH.KEY', 1), /no such configuration key: NO\.SUCH/);
  assert.throws(() => cfg.define('OUTPUT_DIR.X', 1), ConfigError);
  assert.throws(() => cfg.define('TEST.a b', 1), /letters, digits/);
  assert.throws(() => cfg.define('TEST.X', undefined), /TEST\.X: .*undefined/);
  const nested = new CfgNode({ A: new CfgNode({ B: 1 }), C: { D: new CfgNode({ E: null }) } });
  assert.deepEqual(nested.paths(), ['A.B', 'C.D.E']);
  assert.equal(nested.set('C.D.E', 'anything').get('C.D.E'), 'anything');
});

test('a node behaves as an object where objects are expected', async () => {
  const cfg = getCfg();
  assert.deepEqual(Object.keys(cfg.INPUT.FLIP), ['ENABLED', 'PROB']);
  assert.deepEqual({ ...cfg.INPUT.FLIP }, { ENABLED: false, PROB: 0.5 });
  assert.equal(JSON.stringify(cfg.INPUT.FLIP), '{"ENABLED":false,"PROB":0.5}');
  assert.equal(inspect(cfg.INPUT.FLIP), '{ ENABLED: false, PROB: 0.5 }');
  assert.ok('FLIP' in cfg.INPUT && !('FLOP' in cfg.INPUT));
  assert.ok(cfg.has('INPUT.FLIP.PROB') && cfg.has('INPUT') && !cfg.has('INPUT.FLOP'));
  assert.equal(await Promise.resolve(cfg), cfg);
  assert.ok(cfg.MODEL instanceof CfgNode);
  assert.equal(String(cfg.INPUT.FLIP), 'ENABLED: false\nPROB: 0.5\n');
});

test('the global configuration', () => {
  assert.equal(getGlobalCfg().SOLVER.MAX_EPOCH, 120);
  const cfg = getCfg();
  cfg.SOLVER.MAX_EPOCH = 1;
  setGlobalCfg(cfg);
  assert.equal(getGlobalCfg().SOLVER.MAX_EPOCH, 1);
});
