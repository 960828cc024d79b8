import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventStorage, getEventStorage, ScalarHistory, withEventStorage } from '../../src/engine/events.js';
import { formatDuration, formatLr, formatShort } from '../../src/engine/format.js';
import { PeriodicWriter } from '../../src/engine/hooks/index.js';
import { byLayer, formatLoadReport } from '../../src/engine/load-report.js';
import { NotingTrainer } from './support.js';

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

test('means and maxima are of what was put since the writers wrote', () => {
  const storage = new EventStorage();
  const put = (iter: number, value: number): void => {
    storage.iter = iter;
    storage.putScalar('pace', value, { smoothing: 'mean' });
    storage.putScalar('norm', value, { smoothing: 'max' });
  };
  const shown = (): unknown[] => [...storage.latestWithSmoothing(1).values()];
  put(0, 8);
  put(5, 1);
  assert.deepEqual(shown(), [
    [4.5, 5],
    [8, 5],
  ]);
  storage.written();
  put(6, 3);
  put(9, 2);
  assert.deepEqual(shown(), [
    [2.5, 9],
    [3, 9],
  ]);
  storage.written();
  assert.deepEqual(shown()[1], [2, 9], 'nothing new: the last value');
  put(12, Number.NaN);
  put(13, 1);
  assert.deepEqual(shown()[1], [Number.NaN, 13]);
});

test('a resumed run shows the maxima of one that never stopped', async () => {
  const run = async (startIterInEpoch: number, until: number, before?: EventStorage) => {
    const lines: unknown[] = [];
    const trainer = new NotingTrainer([], ({ iter, storage }) => {
      storage.putScalar('norm', 1 / (iter + 1), { smoothing: 'max' });
      if (iter === until) trainer.requestStop('the test says so');
    });
    if (before) trainer.storage.loadStateDict(before.stateDict());
    const write = (): void => {
      lines.push(getEventStorage().latestWithSmoothing().get('norm'));
    };
    trainer.registerHooks([new PeriodicWriter([{ write, close: () => {} }], 4)]);
    await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 10, startIterInEpoch });
    return { lines, storage: trainer.storage };
  };
  const whole = await run(0, 99);
  assert.deepEqual(whole.lines, [
    [1, 3],
    [1 / 5, 7],
    [1 / 9, 9],
  ]);
  const stopped = await run(0, 5);
  const resumed = await run(6, 99, stopped.storage);
  assert.deepEqual([stopped.lines[0], ...resumed.lines], whole.lines);
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
