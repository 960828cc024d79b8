import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Config } from '../../src/config/index.js';
import {
  DefaultTrainer,
  defaultSetup,
  type HookBase,
  hooks,
  NonFiniteLossError,
} from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import { Baseline, type MetaArch } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { tinyConfig } from './tiny.js';
import { tinyFolder } from './tiny-folder.js';

setQuiet(true);
const folder = tinyFolder('trainer');
let runs = 0;
const config = (overrides: unknown[] = []): Config => tinyConfig(join(folder, String(runs++)), overrides);

function build(cfg: Config, Trainer = DefaultTrainer): DefaultTrainer {
  torch.manualSeed(3);
  return new Trainer(cfg, { seed: 3 });
}

/** Sum of |w| of all weights, a fingerprint. */
function weights(model: MetaArch): string {
  return [...model.stateDict().values()]
    .map((t) => Buffer.from((t.toTypedArray() as Uint8Array).buffer).toString('base64'))
    .join();
}

test('the default hooks come in FastReID’s order', async () => {
  const trainer = build(config());
  assert.deepEqual(
    trainer.hooks.map((h) => h.name).filter((n) => n !== 'ProgressBar'),
    ['IterationTimer', 'LRScheduler', 'EvalHook', 'PeriodicCheckpointer', 'PeriodicWriter'],
  );
  await trainer.close();
});

test('an epoch has as many iterations as whole batches; classes are counted; config.yaml says so', async () => {
  const cfg = config().freeze();
  const trainer = build(cfg);
  assert.equal(trainer.itersPerEpoch, 4);
  assert.equal(trainer.cfg.MODEL.HEADS.NUM_CLASSES, 6);
  assert.equal(cfg.MODEL.HEADS.NUM_CLASSES, 0);
  assert.ok(trainer.cfg.isFrozen());
  assert.match(readFileSync(join(cfg.OUTPUT_DIR, 'config.yaml'), 'utf8'), /NUM_CLASSES: 6/);
  await trainer.close();
});

test('the model is laid out as MODEL.MEMORY_FORMAT says; checkpoints do not tell', async () => {
  const strides = (model: MetaArch): number[] =>
    (model.getModule('backbone.conv1') as torch.nn.Conv2d).weight.strides;
  const trainer = build(config());
  assert.deepEqual(strides(trainer.model), [27, 1, 9, 3]);
  await trainer.train();
  await trainer.close();
  const { weight } = trainer.model.getModule('backbone.conv1') as torch.nn.Conv2d;
  assert.deepEqual(strides(trainer.model), [27, 1, 9, 3]);
  const plain = build(config(['MODEL.MEMORY_FORMAT', 'contiguous']));
  assert.deepEqual(strides(plain.model), [27, 9, 3, 1]);
  await plain.checkpointer.load(join(trainer.cfg.OUTPUT_DIR, 'model_final.pth'));
  assert.deepEqual(strides(plain.model), [27, 9, 3, 1]);
  assert.deepEqual(
    (plain.model.getModule('backbone.conv1') as torch.nn.Conv2d).weight.toArray(),
    weight.toArray(),
  );
  await plain.close();
});

test('builders are overridden in a subclass', async () => {
  const built: string[] = [];
  class Mine extends DefaultTrainer {
    static override buildModel(cfg: Config): MetaArch {
      built.push('model');
      return DefaultTrainer.buildModel(cfg);
    }
    static override async test(): Promise<{ metric: number }> {
      built.push('test');
      return { metric: 1 };
    }
    protected override buildHooks(): (HookBase | null)[] {
      return [
        ...super.buildHooks(),
        new hooks.CallbackHook({ afterBackward: () => void built.push('backward') }),
      ];
    }
  }
  const trainer = build(config(['SOLVER.MAX_EPOCH', 1]), Mine);
  assert.deepEqual(await trainer.train(), { metric: 1 });
  assert.deepEqual(built, ['model', 'backward', 'backward', 'backward', 'backward', 'test']);
  await trainer.close();
});

test('training learns, and its results are those of test()', async () => {
  const trainer = build(
    config([
      ...['SOLVER.MAX_EPOCH', 8, 'TEST.EVAL_PERIOD', 0, 'SOLVER.CHECKPOINT_PERIOD', 0],
      // Few images, a high rate or the triplet loss make it jump about.
      ...['MODEL.LOSSES.NAME', '("CrossEntropyLoss",)', 'SOLVER.BASE_LR', 0.003],
    ]),
  );
  const results = await trainer.train();
  const losses = trainer.storage
    .history('total_loss')
    .entries()
    .map(([loss]) => loss);
  const mean = (xs: number[]): number => xs.reduce((a, b) => a + b) / xs.length;
  assert.ok(mean(losses.slice(-8)) < mean(losses.slice(0, 8)), String(losses));
  assert.deepEqual(await trainer.test(), results);
  await trainer.close();
});

test('stopped anywhere and resumed: the same weights as in one go, bit for bit', async () => {
  const whole = build(config());
  await whole.train();
  await whole.close();
  const expected = weights(whole.model);
  // At the beginning and the end of an epoch, in the middle, and at the very end.
  for (const stop of [0, 2, 3, 4, 11]) {
    const cfg = config();
    const first = build(cfg);
    const stopper = (): void => {
      if (first.iter === stop) first.requestStop('test');
    };
    first.registerHooks([new hooks.CallbackHook({ beforeStep: stopper })]);
    await first.train();
    await first.close();
    assert.equal(first.outcome, 'stopped');
    torch.manualSeed(999);
    const second = new DefaultTrainer(cfg, { seed: 77 });
    await second.resumeOrLoad();
    await second.train();
    await second.close();
    assert.equal(second.outcome, 'finished');
    assert.ok(weights(second.model) === expected, `stopped in iteration ${stop}`);
    assert.deepEqual(
      second.storage.history('total_loss').entries().slice(-1),
      whole.storage.history('total_loss').entries().slice(-1),
    );
  }
});

test('a loss that is not finite stops training before the weights change', async () => {
  class Broken extends Baseline {
    protected override forward(input: never): ReturnType<Baseline['forward']> {
      const losses = super.forward(input);
      if (losses instanceof torch.Tensor) return losses;
      return { ...losses, loss_cls: losses.loss_cls.mul(Number.NaN) };
    }
  }
  class Mine extends DefaultTrainer {
    static override buildModel(cfg: Config): MetaArch {
      return new Broken(Baseline.fromConfig(cfg, () => {}));
    }
  }
  const trainer = build(config(), Mine);
  const before = weights(trainer.model).split(',')[0];
  await assert.rejects(trainer.train(), (error: Error) => {
    assert.ok(error instanceof NonFiniteLossError);
    assert.match(error.message, /loss_cls is NaN at iteration 0 \(loss_cls = NaN, loss_triplet = /);
    assert.match(error.message, /SOLVER.BASE_LR/);
    return true;
  });
  assert.equal(weights(trainer.model).split(',')[0], before);
  await trainer.close();
});

test('settings whose feature is missing are refused before anything is built', () => {
  assert.throws(() => defaultSetup(config(['SOLVER.OPT', 'LBFGS'])), /SOLVER.OPT is "LBFGS"/);
});

test('CUDNN_BENCHMARK is in effect, but not where there is only an evaluation', () => {
  const setUp = (on: boolean, evalOnly: boolean): boolean => {
    defaultSetup(config(['OUTPUT_DIR', '', 'CUDNN_BENCHMARK', on]), { evalOnly, seed: 1 });
    return torch.backends.cudnn.benchmark;
  };
  assert.deepEqual([setUp(true, false), setUp(true, true), setUp(false, false)], [true, false, false]);
});

test('a model left in eval mode is an error, not a silent training', async () => {
  const trainer = build(config());
  trainer.registerHooks([new hooks.CallbackHook({ beforeStep: () => void trainer.model.eval() })]);
  await assert.rejects(trainer.train(), /the model is in eval mode/);
  await trainer.close();
});

test('evaluation alone needs weights, and gives what training gave', async () => {
  const cfg = config(['SOLVER.MAX_EPOCH', 1]);
  const trainer = build(cfg);
  const results = await trainer.train();
  await trainer.close();
  await assert.rejects(DefaultTrainer.evaluateOnly(cfg), /MODEL.WEIGHTS <file.pth>/);
  cfg.MODEL.WEIGHTS = join(cfg.OUTPUT_DIR, 'model_final.pth');
  assert.deepEqual(await DefaultTrainer.evaluateOnly(cfg), results);
});
