import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importScript } from '../support/scripts.js';

interface DemoModule {
  parseDemo(args: string[]): { quick: boolean; again: boolean; help: boolean; overrides: string[] };
  demoState(exists: (name: string) => boolean, again?: boolean): 'train' | 'resume' | 'finished';
  outputDirectory(yaml: string): string;
  lastResults(text: string, dataset: string): Record<string, Record<string, number>> | null;
}

const demo = await importScript<DemoModule>('lib/demo.mjs');

test('options and overrides are told apart', () => {
  const parsed = demo.parseDemo(['--quick', 'SOLVER.MAX_EPOCH', '3']);
  assert.deepEqual(parsed, { quick: true, again: false, help: false, overrides: ['SOLVER.MAX_EPOCH', '3'] });
  assert.throws(() => demo.parseDemo(['--fast']), /unknown option --fast; npm run demo -- --help/);
});

test('a finished run is shown, an interrupted one resumed', () => {
  const left =
    (...names: string[]) =>
    (name: string) =>
      names.includes(name);
  assert.equal(demo.demoState(left()), 'train');
  assert.equal(demo.demoState(left('log.txt')), 'train');
  assert.equal(demo.demoState(left('last_checkpoint')), 'resume');
  assert.equal(demo.demoState(left('last_checkpoint', 'model_final.pth')), 'finished');
  assert.equal(demo.demoState(left('last_checkpoint', 'model_final.pth'), true), 'train');
});

test('OUTPUT_DIR is read from the printed configuration', () => {
  assert.equal(demo.outputDirectory('MODEL:\n  NAME: x\nOUTPUT_DIR: logs/demo\nSOLVER: {}\n'), 'logs/demo');
  assert.equal(demo.outputDirectory("OUTPUT_DIR: 'a b'\n"), 'a b');
  assert.throws(() => demo.outputDirectory('MODEL: {}\n'), /no OUTPUT_DIR/);
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
