import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { repoRoot } from '../support/paths.js';
import { importScript } from '../support/scripts.js';

interface Speed {
  secondsPerIteration: number;
  itersPerEpoch: number;
}

interface Settings {
  output: string;
  maxEpoch: number;
  warmupIters: number;
  evalPeriod: number;
  checkpointPeriod: number;
}

interface DemoModule {
  CONFIG: string;
  parseDemo(args: string[]): Record<string, unknown>;
  demoState(
    earlier: { checkpoint: string | null; epochs: number | null },
    asked?: { again?: boolean; epochs?: number | null },
  ): 'train' | 'resume' | 'finished';
  affordableEpochs(speed: Speed, most: number): number;
  timeNote(speed: Speed, epochs: number, most: number): string;
  lengthOverrides(settings: Settings, epochs: number): string[];
  readSettings(yaml: string): Settings;
  lastResults(text: string, dataset: string): Record<string, Record<string, number>> | null;
}

const demo = await importScript<DemoModule>('lib/demo.mjs');

test('options and overrides are told apart', () => {
  const plain = { quick: false, again: false, help: false, epochs: null, overrides: [] };
  assert.deepEqual(demo.parseDemo([]), plain);
  assert.deepEqual(demo.parseDemo(['--quick', 'SOLVER.MAX_EPOCH', '3']), {
    ...plain,
    quick: true,
    overrides: ['SOLVER.MAX_EPOCH', '3'],
  });
  assert.deepEqual(demo.parseDemo(['--', '--epochs', '9', 'SEED', '1', '--again']), {
    ...plain,
    again: true,
    epochs: 9,
    overrides: ['SEED', '1'],
  });
  assert.throws(() => demo.parseDemo(['--fast']), /unknown option --fast; npm run demo -- --help/);
  for (const bad of [['--epochs'], ['--epochs', '0'], ['--epochs', '2.5'], ['--epochs', '--again']]) {
    assert.throws(() => demo.parseDemo(bad), /--epochs needs a whole number/);
  }
  assert.throws(() => demo.parseDemo(['--quick', '--epochs', '3']), /--quick has its own/);
  assert.throws(() => demo.parseDemo(['--epochs', '3', 'SOLVER.MAX_EPOCH', '4']), /leave out one/);
});

test('a finished run is shown, an interrupted one resumed', () => {
  const none = { checkpoint: null, epochs: null };
  const interrupted = { checkpoint: 'model_best.pth', epochs: 9 };
  const finished = { checkpoint: 'model_final.pth', epochs: 9 };
  assert.equal(demo.demoState(none), 'train');
  assert.equal(demo.demoState({ checkpoint: null, epochs: 9 }), 'train');
  assert.equal(demo.demoState(interrupted), 'resume');
  assert.equal(demo.demoState(finished), 'finished');
  for (const earlier of [interrupted, finished])
    assert.equal(demo.demoState(earlier, { again: true }), 'train');
  // Another number of epochs is another run, the same number the same one.
  assert.equal(demo.demoState(interrupted, { epochs: 9 }), 'resume');
  assert.equal(demo.demoState(finished, { epochs: 9 }), 'finished');
  for (const earlier of [interrupted, finished])
    assert.equal(demo.demoState(earlier, { epochs: 26 }), 'train');
});

test('a slow machine trains fewer epochs, none more than the configuration says or less than is of use', () => {
  const at = (secondsPerIteration: number): number =>
    demo.affordableEpochs({ secondsPerIteration, itersPerEpoch: 115 }, 26);
  assert.equal(at(0.001), 26);
  assert.equal(at(0.11), 26);
  assert.equal(at(0.37), 8);
  assert.equal(at(5), 5);
  for (const seconds of [0.13, 0.2, 0.3, 0.4, 0.5]) {
    const epochs = at(seconds);
    // 26 × 115 iterations and two evaluations were 7 minutes at 0.137 s an iteration.
    assert.ok(epochs * 115 * seconds < 7 * 60, `${epochs} epochs at ${seconds} s`);
    assert.ok((epochs + 1) * 115 * seconds > 5.5 * 60, `${epochs} epochs at ${seconds} s`);
  }
  assert.equal(demo.affordableEpochs({ secondsPerIteration: 5, itersPerEpoch: 115 }, 3), 3);
});

test('the console says how long it will take, and how to train all epochs', () => {
  const note = (secondsPerIteration: number, epochs: number): string =>
    demo.timeNote({ secondsPerIteration, itersPerEpoch: 115 }, epochs, 26);
  assert.match(
    note(0.1104, 26),
    /^This machine takes 0\.11 s an iteration: 26 of 26 epochs, about 6 minutes\.$/,
  );
  assert.match(note(0.3702, 8), /0\.37 s an iteration: 8 of 26 epochs, about 6 minutes\./);
  assert.match(note(0.3702, 8), /about 19 minutes: npm run demo -- --epochs 26/);
  assert.match(note(0.004, 26), /about 1 minute\./);
});

test('warm-up and periods keep their share of a shorter run', () => {
  const settings = demo.readSettings(readFileSync(join(repoRoot, demo.CONFIG), 'utf8'));
  const pairs = (epochs: number): Record<string, string> => {
    const words = demo.lengthOverrides(settings, epochs);
    return Object.fromEntries(words.flatMap((word, i) => (i % 2 ? [] : [[word, words[i + 1]]])));
  };
  assert.deepEqual(pairs(26), {
    'SOLVER.MAX_EPOCH': '26',
    'SOLVER.WARMUP_ITERS': '115',
    'SOLVER.CHECKPOINT_PERIOD': '13',
    'TEST.EVAL_PERIOD': '13',
  });
  assert.deepEqual(pairs(9), {
    'SOLVER.MAX_EPOCH': '9',
    'SOLVER.WARMUP_ITERS': '40',
    'SOLVER.CHECKPOINT_PERIOD': '5',
    'TEST.EVAL_PERIOD': '5',
  });
  assert.equal(pairs(1)['TEST.EVAL_PERIOD'], '1');
});

test('the settings are read from a printed configuration', () => {
  const cfg = getCfg().mergeFromList([
    'OUTPUT_DIR',
    'a b: c',
    'SOLVER.MAX_EPOCH',
    '7',
    'TEST.EVAL_PERIOD',
    '3',
  ]);
  const { output, maxEpoch, evalPeriod } = demo.readSettings(cfg.dump());
  assert.deepEqual([output, maxEpoch, evalPeriod], ['a b: c', 7, 3]);
});

test('the last evaluation is found, behind training lines and a torn one', () => {
  const line = (row: Record<string, unknown>): string => `${JSON.stringify(row)}\n`;
  const measures = { 'Rank-1': 36.1, mAP: 29.2 };
  const text =
    line({ iteration: 9, mAP: 4.0, 'Rank-1': 5.5 }) +
    line({ iteration: 19, loss_cls: 1.5, ...measures }) +
    line({ iteration: 29, loss_cls: 1.2 }) +
    '{"iteration": 3';
  assert.deepEqual(demo.lastResults(text, 'EmojiReID'), { EmojiReID: measures });
  const two = demo.lastResults(line({ 'A/mAP': 1, 'B/mAP': 2, 'B/Rank-1': 3 }), 'x');
  assert.deepEqual(two, { A: { mAP: 1 }, B: { mAP: 2, 'Rank-1': 3 } });
  assert.equal(demo.lastResults(line({ loss: 1 }), 'x'), null);
  const sorted = demo.lastResults(line({ 'Rank-1': 1, 'Rank-10': 3, 'Rank-5': 2, mAP: 4, mINP: 5 }), 'x');
  assert.deepEqual(Object.keys(sorted?.x ?? {}), ['Rank-1', 'Rank-5', 'Rank-10', 'mAP', 'mINP']);
});
