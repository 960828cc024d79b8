import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CameraPairs, detailsText, type EvaluationDetails } from '../../src/evaluation/index.js';
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

test('confidence intervals and pairs of cameras, by their names, stand below the table', () => {
  const pairs = new CameraPairs([7, 7, 8], [1, 2, 2]);
  pairs.add(0, 7, 0, Float32Array.of(0.3, 0.2, 0.1));
  const details = {
    confidence: { 'Rank-1': [10, 20.126] },
    cameraPairs: pairs.result((camera) => ['door', 'yard', 'gate'][camera]),
  } as unknown as EvaluationDetails;
  assert.equal(
    detailsText([details]),
    [
      '95 % confidence: Rank-1 10.00 to 20.13',
      'Pairs of cameras:',
      '| Query camera | Gallery camera | Queries | Rank-1 | mAP    |',
      '|:-------------|:---------------|:--------|:-------|:-------|',
      '| door         | yard           | 1       | 100.00 | 100.00 |',
      '| door         | gate           | 1       | 0.00   | 50.00  |',
      '',
    ].join('\n'),
  );
  assert.match(detailsText([details, details]), /^95 % confidence, trial 1 of 2: /);
  const { confidence: _, cameraPairs: __, ...none } = details;
  assert.equal(detailsText([none]), '');
  assert.equal(detailsText([]), '');
});
