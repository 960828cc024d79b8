import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flattenResults, resultsTable } from '../../src/evaluation/results.js';

test('nested results become paths', () => {
  assert.deepEqual(flattenResults({ a: { b: 1, c: { d: 2 } }, e: 3 }), { 'a/b': 1, 'a/c/d': 2, e: 3 });
});

test('anything but numbers is refused by name', () => {
  assert.throws(() => flattenResults({ a: 'x' as unknown as number }), /'a' is x/);
});

test('the table is a pipe table with a row for each data set', () => {
  const table = resultsTable({
    Market1501: { 'Rank-1': 94.418, mAP: 85.6 },
    EmojiReID: { 'Rank-1': 36.06, mAP: 29.191 },
  });
  assert.equal(
    table,
    [
      '| Dataset    | Rank-1 | mAP   |',
      '|:-----------|:-------|:------|',
      '| Market1501 | 94.42  | 85.60 |',
      '| EmojiReID  | 36.06  | 29.19 |',
    ].join('\n'),
  );
});
