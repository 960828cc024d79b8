import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventStorage, getEventStorage, ScalarHistory, withEventStorage } from '../../src/engine/events.js';
import { formatDuration, formatLr, formatShort } from '../../src/engine/format.js';
import { byLayer, formatLoadReport } from '../../src/engine/load-report.js';

test('history: latest, mean, median, global mean', () => {
  const history = new ScalarHistory(3);
  for (let i = 0; i < 10; i++) history.update(i * i, i);
  assert.equal(history.latest(), 81);
  assert.equal(history.latestIteration(), 9);
  assert.equal(history.avg(2), (64 + 81) / 2);
  assert.equal(history.median(3), 64);
  assert.equal(history.median(2), 72.5);
  assert.ok(Math.abs(history.globalAvg() - 28.5) < 1e-12);
  assert.ok(history.entries().length <= 6);
});

test('one name keeps one kind of smoothing', () => {
  const storage = new EventStorage();
  storage.putScalar('lr', 1, { smoothing: false });
  assert.throws(() => storage.putScalar('lr', 2), /'lr' was put with smoothing false before, now with true/);
  assert.throws(() => storage.history('loss'), /no scalar named 'loss'/);
});

test('a storage goes on from a saved state', () => {
  const one = new EventStorage();
  for (let i = 0; i < 5; i++) {
    one.iter = i;
    one.putScalars({ loss: i });
  }
  const other = new EventStorage(5);
  other.loadStateDict(JSON.parse(JSON.stringify(one.stateDict())));
  for (const storage of [one, other]) {
    storage.iter = 5;
    storage.putScalar('loss', 5);
  }
  assert.deepEqual(other.latestWithSmoothing(20), one.latestWithSmoothing(20));
  assert.equal(other.history('loss').globalAvg(), one.history('loss').globalAvg());
});

test('storages nest', async () => {
  const [outer, inner] = [new EventStorage(), new EventStorage()];
  await withEventStorage(outer, async () => {
    await withEventStorage(inner, () => assert.equal(getEventStorage(), inner));
    assert.equal(getEventStorage(), outer);
  });
});

test('durations, short numbers, rates', () => {
  assert.equal(formatDuration(3661.9), '1:01:01');
  assert.equal(formatDuration(2 * 86_400 + 5), '2 days, 0:00:05');
  assert.deepEqual([4.89712, 0, 123456, 1.5e-7, Number.NaN].map(formatShort), [
    '4.897',
    '0',
    '1.235e+5',
    '1.5e-7',
    'NaN',
  ]);
  assert.deepEqual([3.5e-4, 0.1, 1e-10].map(formatLr), ['3.50e-04', '1.00e-01', '1.00e-10']);
});

test('load reports are summed up by layer', () => {
  assert.deepEqual(byLayer(['a.b.weight', 'a.b.bias', 'c', 'd.e']), ['a.b.{weight, bias}', 'c', 'd.e']);
  const lines = formatLoadReport({
    loaded: ['x.weight'],
    missing: ['y.weight', 'y.bias'],
    unexpected: ['z'],
    mismatched: [{ key: 'heads.weight', expected: [629, 512], found: [751, 512] }],
  });
  assert.deepEqual(
    lines.map(({ text }) => text.trim()),
    [
      "Checkpoint: loaded 1 of the model's 4 entries, 2 missing, 1 unexpected, 1 of another shape",
      'other shape, skipped: heads.weight [751, 512] in the file, [629, 512] in the model (expected when the number of identities differs)',
      'missing in the file, left as initialised: y.{weight, bias}',
      'in the file only, not used: z',
    ],
  );
});
