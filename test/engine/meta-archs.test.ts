import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Config } from '../../src/config/index.js';
import { DefaultPredictor, DefaultTrainer, defaultSetup, hooks } from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { tinyConfig, writeTinySet } from './tiny.js';

setQuiet(true);
const folder = mkdtempSync(join(tmpdir(), 'reid-meta-archs-'));
let runs = 0;
const config = (overrides: unknown[]): Config => tinyConfig(join(folder, String(runs++)), overrides);

/** Trained for an epoch by `before`. */
const teacher = join(folder, 'teacher');

before(async () => {
  await writeTinySet(join(folder, 'data'));
  process.env.FASTREID_DATASETS = join(folder, 'data');
  const cfg = tinyConfig(teacher, ['SOLVER.MAX_EPOCH', 1, 'TEST.EVAL_PERIOD', 0]);
  defaultSetup(cfg);
  const trainer = build(cfg);
  await trainer.train();
  await trainer.close();
});
after(() => rmSync(folder, { recursive: true, force: true }));

function build(cfg: Config): DefaultTrainer {
  torch.manualSeed(3);
  return new DefaultTrainer(cfg, { seed: 3 });
}

/** Every tensor of a checkpoint, nested dicts flattened, as bytes. */
async function tensors(run: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const walk = (value: unknown, path: string): void => {
    if (value instanceof torch.Tensor) {
      const bytes = value.toTypedArray() as Uint8Array;
      found.set(path, Buffer.from(bytes.buffer).toString('base64'));
    } else if (value instanceof Map) for (const [key, item] of value) walk(item, `${path}/${key}`);
  };
  walk(await torch.load(join(run, 'model_final.pth')), '');
  return found;
}

const TEACHERS = [
  ...['MODEL.META_ARCHITECTURE', 'Distiller', 'KD.EMA.ENABLED', true, 'KD.EMA.MOMENTUM', 0.8],
  ...[
    'KD.MODEL_CONFIG',
    [join(teacher, 'config.yaml')],
    'KD.MODEL_WEIGHTS',
    [join(teacher, 'model_final.pth')],
  ],
];

const CASES: Record<string, { overrides: unknown[]; loss: string; state: string[] }> = {
  // A queue that a batch of 4 does not divide.
  MoCo: {
    overrides: ['MODEL.META_ARCHITECTURE', 'MoCo', 'MODEL.QUEUE_SIZE', 10],
    loss: 'loss_mb',
    state: ['/model/memory.queue', '/model/memory.queue_label', '/model/memory.queue_ptr'],
  },
  Distiller: {
    overrides: TEACHERS,
    loss: 'loss_jsdiv',
    state: ['/ema_teacher/backbone.conv1.weight', '/ema_teacher/backbone.bn1.running_mean'],
  },
};

for (const [name, { overrides, loss, state }] of Object.entries(CASES)) {
  test(`${name} trains, resumes bit for bit from anywhere, evaluates, and embeds`, async () => {
    const cfg = config(overrides);
    defaultSetup(cfg);
    const whole = build(cfg);
    const results = await whole.train();
    await whole.close();
    assert.equal(whole.storage.history(loss).entries().length, 12);
    const expected = await tensors(cfg.OUTPUT_DIR);
    for (const key of state) assert.ok(expected.has(key), key);
    // Of other models there is nothing.
    const allowed = [
      '/model/',
      '/optimizer/',
      '/reid_native/',
      ...(name === 'Distiller' ? ['/ema_teacher/'] : []),
    ];
    for (const key of expected.keys())
      assert.ok(
        allowed.some((part) => key.startsWith(part)),
        key,
      );

    for (const stop of [0, 2, 4, 11]) {
      const again = config(overrides);
      const first = build(again);
      const stopper = (): void => {
        if (first.iter === stop) first.requestStop('test');
      };
      first.registerHooks([new hooks.CallbackHook({ beforeStep: stopper })]);
      await first.train();
      await first.close();
      assert.equal(first.outcome, 'stopped');
      torch.manualSeed(999);
      const second = new DefaultTrainer(again, { seed: 77 });
      await second.resumeOrLoad();
      await second.train();
      await second.close();
      assert.deepEqual(await tensors(again.OUTPUT_DIR), expected, `stopped in iteration ${stop}`);
    }

    const trained = cfg.clone().defrost();
    trained.MODEL.WEIGHTS = join(cfg.OUTPUT_DIR, 'model_final.pth');
    // Only training needs the teachers.
    if (name === 'Distiller') trained.KD.MODEL_WEIGHTS = ['gone.pth'];
    assert.deepEqual(await DefaultTrainer.evaluateOnly(trained), results);
    const image = join(folder, 'data/emoji-reid/query/0001_c1s1_000001_01.jpg');
    const features = await (await DefaultPredictor.create(trained)).embed([image]);
    const plain = trained.clone();
    plain.MODEL.META_ARCHITECTURE = 'Baseline';
    const baseline = await (await DefaultPredictor.create(plain)).embed([image]);
    assert.ok(torch.equal(features, baseline));
  });
}

test('a missing teacher stops a training before it begins', () => {
  const cfg = config([...TEACHERS, 'KD.MODEL_WEIGHTS', ['gone.pth']]);
  assert.throws(() => build(cfg), /KD.MODEL_WEIGHTS\[0\] names gone.pth, but there is no file/);
});

test('fine-tuning from weights: the moving average begins with them', async () => {
  const weights = join(teacher, 'model_final.pth');
  const cfg = config([...TEACHERS, 'KD.EMA.MOMENTUM', 1, 'MODEL.WEIGHTS', weights, 'SOLVER.MAX_EPOCH', 1]);
  const trainer = build(cfg);
  await trainer.resumeOrLoad({ resume: false });
  await trainer.train();
  await trainer.close();
  const [made, loaded] = [await tensors(cfg.OUTPUT_DIR), await tensors(teacher)];
  assert.equal(made.get('/ema_teacher/backbone.conv1.weight'), loaded.get('/model/backbone.conv1.weight'));
  assert.notEqual(made.get('/model/backbone.conv1.weight'), loaded.get('/model/backbone.conv1.weight'));
});
