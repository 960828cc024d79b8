import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { getCfg, type PyValue } from '../../src/config/index.js';
import { OUR_KEYS } from '../../src/config/ours.js';
import { goldenPath } from '../support/paths.js';

type Expected = { kind: string; value?: unknown; items?: Expected[] };

const expected = JSON.parse(readFileSync(goldenPath('fastreid_defaults.json'), 'utf8')) as Record<
  string,
  Expected
>;

function described(value: PyValue): Expected {
  if ('items' in value) return { kind: value.kind, items: value.items.map(described) };
  return value.kind === 'none'
    ? { kind: 'none' }
    : { kind: value.kind, value: 'value' in value ? value.value : value };
}

test('every key of FastReID is there, in its order, and few besides', () => {
  const cfg = getCfg();
  const paths = cfg.paths();
  const besides = paths.filter((path) => !(path in expected));
  assert.deepEqual(
    paths.filter((path) => path in expected),
    Object.keys(expected),
  );
  assert.deepEqual(new Map(besides.map((path) => [path, cfg.get(path)])), OUR_KEYS);
});

test('every default has the value and the Python type it has in FastReID', () => {
  const cfg = getCfg();
  for (const [path, want] of Object.entries(expected)) {
    assert.deepEqual(described(cfg.getPy(path)), want, path);
  }
});

test('the tree is typed', () => {
  const cfg = getCfg();
  const depth: string = cfg.MODEL.BACKBONE.DEPTH;
  const rate: number = cfg.SOLVER.HEADS_LR_FACTOR;
  const losses: readonly string[] = cfg.MODEL.LOSSES.NAME;
  const stride: readonly number[] = cfg.MODEL.BACKBONE.STRIDE_SIZE;
  const flip: boolean = cfg.INPUT.FLIP.ENABLED;
  assert.deepEqual([depth, rate, losses, stride, flip], ['50x', 1, ['CrossEntropyLoss'], [16, 16], false]);
  // @ts-expect-error: no such key
  assert.throws(() => cfg.SOLVER.BASE_LRR, /SOLVER\.BASE_LRR/);
});
