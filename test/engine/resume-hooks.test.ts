import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DefaultTrainer, hooks, seedAll } from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { tinyConfig } from './tiny.js';
import { tinyFolder } from './tiny-folder.js';

setQuiet(true);
const folder = tinyFolder('resume-hooks');

interface RunOptions {
  resume?: boolean;
  /** Iteration after which to stop. */
  stopAfter?: number;
}

/** Trains 3 epochs of 4 iterations; gives what hooks saw of the model at the end of each epoch. */
async function train(name: string, overrides: unknown[], { resume = false, stopAfter }: RunOptions = {}) {
  seedAll(5);
  const trainer = new DefaultTrainer(
    tinyConfig(join(folder, name), ['DATALOADER.NUM_WORKERS', 1, ...overrides]),
  );
  const modes: boolean[] = [];
  trainer.registerHooks([
    new hooks.CallbackHook({
      afterStep: ({ iter }) => {
        modes.push((trainer.model.getModule('backbone.bn1') as torch.nn.AnyModule).training);
        if (iter === stopAfter) trainer.requestStop('the test says so');
      },
    }),
  ]);
  await trainer.resumeOrLoad({ resume });
  const start = torch.scope(() => trainer.model.stateDict().get('backbone.conv1.weight')?.sum().item());
  await trainer.train();
  await trainer.close();
  return { trainer, modes, start };
}

/** Everything in a checkpoint, tensors as bytes, for comparison. */
async function content(name: string, file = 'model_final.pth'): Promise<Record<string, unknown>> {
  const flatten = (value: unknown): unknown => {
    if (value instanceof torch.Tensor) {
      const bytes = value.toTypedArray() as Uint8Array;
      return [value.dtype.name, value.shape, Buffer.from(bytes.buffer).toString('base64')];
    }
    if (value instanceof Map) {
      // Durations differ between any two runs.
      const entries = [...value].filter(([k]) => !['time', 'data_time', 'eta_seconds'].includes(String(k)));
      return Object.fromEntries(entries.map(([k, v]) => [String(k), flatten(v)]));
    }
    return Array.isArray(value) ? value.map(flatten) : value;
  };
  return flatten(await torch.load(join(folder, name, file))) as Record<string, unknown>;
}

const FREEZE = ['MODEL.FREEZE_LAYERS', ['backbone'], 'SOLVER.FREEZE_ITERS', 6];
const EMA = ['SOLVER.EMA.ENABLED', true, 'SOLVER.EMA.MOMENTUM', 0.5];
const SWA = ['SOLVER.SWA.ENABLED', true, 'SOLVER.SWA.START_EPOCH', 1, 'SOLVER.SWA.LR_FACTOR', 0.25];
const PRECISE = [
  ...['TEST.PRECISE_BN.ENABLED', true, 'TEST.PRECISE_BN.DATASET', 'EmojiReID'],
  ...['TEST.PRECISE_BN.NUM_ITER', 3],
];

const settings: Record<string, unknown[]> = {
  'frozen layers, EMA, NAdam': [...FREEZE, ...EMA, 'SOLVER.OPT', 'NAdam'],
  'frozen layers as FastReID has them, SWA, PreciseBN, Lamb': [
    ...[...FREEZE, ...SWA, ...PRECISE, 'SOLVER.OPT', 'Lamb', 'COMPAT', 'fastreid'],
    ...['SOLVER.CLIP_GRADIENTS.ENABLED', true],
  ],
  'SWA with its own statistics, RMSprop': [...SWA, 'SOLVER.OPT', 'RMSprop', 'SOLVER.SWA.PERIOD', 2],
  'float16 with scaled losses, clipping, frozen layers': [
    ...[...FREEZE, 'SOLVER.AMP.ENABLED', true, 'SOLVER.AMP.DTYPE', 'float16'],
    ...['SOLVER.CLIP_GRADIENTS.ENABLED', true, 'SOLVER.CLIP_GRADIENTS.CLIP_VALUE', 0.1],
  ],
  'bfloat16, clipping, frozen layers, AdamW': [
    ...[...FREEZE, 'SOLVER.AMP.ENABLED', true, 'SOLVER.AMP.DTYPE', 'bfloat16', 'SOLVER.OPT', 'AdamW'],
    ...['SOLVER.CLIP_GRADIENTS.ENABLED', true, 'SOLVER.CLIP_GRADIENTS.CLIP_TYPE', 'value'],
  ],
};

for (const [what, overrides] of Object.entries(settings)) {
  test(`${what}: stopped or killed and resumed, the same as never stopped, bit for bit`, async () => {
    await train(`${what} whole`, overrides);
    const whole = await content(`${what} whole`);
    // In mid-epoch while frozen, in mid-epoch afterwards, and after an epoch's last iteration.
    for (const stopAfter of [1, 9, 7]) {
      const name = `${what} ${stopAfter}`;
      const { trainer } = await train(name, overrides, { stopAfter });
      assert.equal(trainer.outcome, 'stopped');
      await train(name, overrides, { resume: true });
      assert.deepEqual(await content(name), whole, name);
    }
    // What a process leaves behind that is killed in the second epoch.
    const name = `${what} killed`;
    mkdirSync(join(folder, name));
    copyFileSync(join(folder, `${what} whole`, 'model_0000.pth'), join(folder, name, 'model_0000.pth'));
    writeFileSync(join(folder, name, 'last_checkpoint'), 'model_0000.pth');
    await train(name, overrides, { resume: true });
    assert.deepEqual(await content(name), whole, name);
  });
}

test('the backbone is frozen until its iteration; FastReID lets go of its modes at the first evaluation', async () => {
  const { modes, trainer } = await train('modes', FREEZE);
  assert.deepEqual(modes, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1].map(Boolean));
  assert.equal(trainer.hooks.map(({ name }) => name).indexOf('LayerFreeze'), 2);
  const { modes: theirs } = await train('modes compat', [...FREEZE, 'COMPAT', 'fastreid']);
  assert.deepEqual(theirs, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1].map(Boolean));
});

test('frozen weights stay; their statistics stay too', async () => {
  const weights = async (name: string, overrides: unknown[]): Promise<unknown[]> => {
    await train(name, overrides, { stopAfter: 2 });
    const { model } = (await content(name, 'model_interrupted.pth')) as { model: Record<string, unknown> };
    return ['backbone.conv1.weight', 'backbone.bn1.running_mean', 'heads.weight'].map((key) => model[key]);
  };
  const first = await weights('frozen', FREEZE);
  const second = await weights('frozen more', [...FREEZE, 'SOLVER.BASE_LR', 0.5]);
  const third = await weights('not frozen', []);
  assert.deepEqual(first.slice(0, 2), second.slice(0, 2));
  assert.notDeepEqual(first[2], second[2]);
  assert.notDeepEqual(first[0], third[0]);
  assert.notDeepEqual(first[1], third[1]);
});

test('hooks stand in FastReID’s order', async () => {
  const names = async (overrides: unknown[]): Promise<string[]> => {
    const trainer = new DefaultTrainer(tinyConfig(join(folder, 'order'), overrides));
    await trainer.close();
    return trainer.hooks.map(({ name }) => name).slice(2, -1);
  };
  const last = ['EvalHook', 'PeriodicCheckpointer'];
  assert.deepEqual(await names([...EMA, ...PRECISE, ...FREEZE]), [
    'EMA',
    'PreciseBN',
    'LayerFreeze',
    ...last,
  ]);
  assert.deepEqual(await names(SWA), ['SWA', ...last]);
  assert.deepEqual(await names([]), last);
});

test('a checkpoint’s model is the average, and is what was evaluated', async () => {
  const { trainer } = await train('ema', [...EMA, 'SOLVER.CHECKPOINT_PERIOD', 1]);
  const averaged = (await content('ema')) as { model: Record<string, unknown> };
  const plain = await train('no ema', []);
  const own = (await content('no ema')) as { model: Record<string, unknown> };
  assert.notDeepEqual(averaged.model['heads.weight'], own.model['heads.weight']);
  const after = await trainer.test();
  assert.deepEqual(after, trainer.lastEvalResults);
  // Training itself takes no notice.
  const state = (
    averaged as unknown as { reid_native: { hooks: { EMA: { weights: Record<string, unknown> } } } }
  ).reid_native.hooks.EMA;
  assert.deepEqual(state.weights['heads.weight'], own.model['heads.weight']);
  assert.equal(plain.trainer.outcome, 'finished');
});

test('what cannot go together, or has no effect, is said', async () => {
  assert.throws(
    () => new DefaultTrainer(tinyConfig(join(folder, 'x'), [...EMA, ...SWA])),
    /SOLVER\.EMA and SOLVER\.SWA both average the weights/,
  );
  assert.throws(
    () =>
      new DefaultTrainer(
        tinyConfig(join(folder, 'x'), ['MODEL.FREEZE_LAYERS', ['b1'], 'SOLVER.FREEZE_ITERS', 1]),
      ),
    /MODEL\.FREEZE_LAYERS names 'b1', which is no part of the model\. Choose from: backbone, heads/,
  );
  assert.throws(
    () =>
      new DefaultTrainer(tinyConfig(join(folder, 'x'), [...PRECISE, 'TEST.PRECISE_BN.DATASET', 'Nowhere'])),
    /Nowhere/,
  );
});
