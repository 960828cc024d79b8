import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import { buildReidTestLoader } from '../../src/data/index.js';
import { DefaultPredictor, DefaultTrainer } from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import { tinyConfig } from './tiny.js';

setQuiet(true);
const folder = mkdtempSync(join(tmpdir(), 'reid-classes-'));
const data = join(folder, 'fruit');
const CLASSES = ['apple', 'banana', 'cherry'];
const file = (part: string, name: string, n: number): string => join(data, part, name, `${n}.png`);
const tested = [file('test', 'banana', 0), file('test', 'cherry', 0), file('test', 'cherry', 1)];

async function draw(path: string, hue: number): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const background = { r: hue * 100, g: 90, b: 250 - hue * 100 };
  await sharp({ create: { width: 32, height: 32, channels: 3, background } }).toFile(path);
}

before(async () => {
  for (const [hue, name] of CLASSES.entries()) {
    for (const n of [0, 1, 2, 3]) await draw(file('train', name, n), hue);
  }
  // One class less than in training, so that the test set's own numbers would be wrong.
  for (const path of tested) await draw(path, path.includes('banana') ? 1 : 2);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const config = (...overrides: unknown[]) =>
  tinyConfig(join(folder, 'logs'), [
    ...['DATASETS.NAMES', [`folder:${data}`], 'DATASETS.TESTS', [`folder:${data}`]],
    ...[
      'MODEL.HEADS.NAME',
      'ClasHead',
      'MODEL.LOSSES.NAME',
      ['CrossEntropyLoss'],
      'INPUT.REA.ENABLED',
      false,
    ],
    ...['TEST.EVALUATOR', 'ClasEvaluator', 'SOLVER.MAX_EPOCH', 10, 'TEST.EVAL_PERIOD', 10],
    ...overrides,
  ]);

test('a classifier is trained and judged by its classes', async () => {
  const trainer = new DefaultTrainer(config(), { seed: 0 });
  const results = (await trainer.train()) as Record<string, number>;
  await trainer.close();
  assert.deepEqual(Object.keys(results), ['Acc@1', 'metric']);
  const written = JSON.parse(readFileSync(join(folder, 'logs/evaluation.json'), 'utf8'));
  assert.equal(written.mode, 'classification, COMPAT: none');

  const weights = ['MODEL.WEIGHTS', join(folder, 'logs/model_final.pth'), 'MODEL.HEADS.NUM_CLASSES', 3];
  const predictor = await DefaultPredictor.create(config(...weights));
  const chosen = (await predictor.embed(tested)).argmax(1).int().toTypedArray() as Int32Array;
  const right = tested.filter((path, i) => path.includes(CLASSES[chosen[i]])).length;
  assert.equal(results['Acc@1'], (100 * right) / tested.length);
  assert.deepEqual(await DefaultTrainer.evaluateOnly(config(...weights)), results);
});

test('test pictures have the numbers of the classes of training', async () => {
  const quiet = { log: () => {} };
  const targets = (classes: boolean): number[] => {
    const { loader } = buildReidTestLoader(config(), `folder:${data}`, { ...quiet, classes });
    return tested.map((_, i) => loader.dataset.at(i).target);
  };
  assert.deepEqual(targets(true), [1, 2, 2]);
  assert.deepEqual(targets(false), [0, 1, 1]);
  const other = config('DATASETS.NAMES', [`folder:${join(data, 'train')}#all`]);
  assert.throws(
    () => buildReidTestLoader(other, `folder:${data}`, { ...quiet, classes: true }),
    /'.*banana\/0\.png' is of '.*_banana', which is no class of DATASETS\.NAMES/,
  );
  const missing = config('DATASETS.NAMES', ['folder:/nowhere']);
  assert.throws(
    () => buildReidTestLoader(missing, `folder:${data}`, { ...quiet, classes: true }),
    /which class has which number follows from the training sets.*\n.*\/nowhere/,
  );
});
