import assert from 'node:assert/strict';
import test from 'node:test';
import { type Config, configurable, getCfg } from '../../src/config/index.js';

class Head {
  readonly options: { scale: number; margin: number };

  constructor(options: { scale: number; margin: number }) {
    this.options = options;
  }

  static fromConfig(cfg: Config): { scale: number; margin: number } {
    return { scale: cfg.MODEL.HEADS.SCALE, margin: cfg.MODEL.HEADS.MARGIN };
  }
}

test('a class takes a configuration, overrides, or plain options', () => {
  const build = configurable(Head);
  const cfg = getCfg().mergeFromList(['MODEL.HEADS.SCALE', '64']).freeze();
  assert.ok(build(cfg) instanceof Head);
  assert.deepEqual(build(cfg).options, { scale: 64, margin: 0 });
  assert.deepEqual(build(cfg, { margin: 0.5 }).options, { scale: 64, margin: 0.5 });
  assert.deepEqual(build({ scale: 1, margin: 2 }).options, { scale: 1, margin: 2 });
});

test('a function does too', () => {
  const epochs = configurable(
    ({ epochs, rate }: { epochs: number; rate: number }) => epochs * rate,
    (cfg) => ({ epochs: cfg.SOLVER.MAX_EPOCH, rate: cfg.SOLVER.GAMMA }),
  );
  assert.equal(epochs(getCfg(), { rate: 2 }), 240);
  assert.equal(epochs({ epochs: 3, rate: 3 }), 9);
});
