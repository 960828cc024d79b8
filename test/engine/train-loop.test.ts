import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getEventStorage } from '../../src/engine/events.js';
import { CallbackHook } from '../../src/engine/hooks/callback-hook.js';
import { NotingHook, NotingTrainer } from './support.js';

test('hooks are called in the order that HookBase states', async () => {
  const notes: string[] = [];
  const trainer = new NotingTrainer(notes);
  trainer.registerHooks([new NotingHook('a', notes), null, new NotingHook('b', notes)]);
  await trainer.trainLoop({ maxEpoch: 2, itersPerEpoch: 1 });
  const both = (event: string): string[] => [`a.${event}`, `b.${event}`];
  const step = (epoch: number): string[] => [
    ...both(`beforeStep ${epoch}/${epoch}`),
    `runStep ${epoch}`,
    ...both(`afterBackward ${epoch}/${epoch}`),
    ...both(`afterStep ${epoch}/${epoch}`),
  ];
  assert.deepEqual(notes, [
    ...both('beforeTrain 0/0'),
    ...both('beforeEpoch 0/0'),
    ...step(0),
    ...both('afterEpoch 0/1'),
    ...both('beforeEpoch 1/1'),
    ...step(1),
    ...both('afterEpoch 1/2'),
    ...both('afterTrain(finished) 2/2'),
  ]);
});

test('an error in a step ends training, and afterTrain still runs for every hook', async () => {
  const notes: string[] = [];
  const trainer = new NotingTrainer(notes, () => {
    throw new Error('step broke');
  });
  const closing = new CallbackHook({
    afterTrain: () => {
      throw new Error('echo');
    },
  });
  trainer.registerHooks([new NotingHook('a', notes), closing, new NotingHook('b', notes)]);
  await assert.rejects(trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 5 }), /step broke/);
  assert.deepEqual(notes.slice(-2), ['a.afterTrain(failed) 0/0', 'b.afterTrain(failed) 0/0']);
  assert.equal(trainer.outcome, 'failed');
});

test('an error in afterTrain alone is the error of the training', async () => {
  const trainer = new NotingTrainer();
  trainer.registerHooks([
    new CallbackHook({
      afterTrain: () => {
        throw new Error('disk full');
      },
    }),
  ]);
  await assert.rejects(trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 1 }), /disk full/);
  assert.equal(trainer.outcome, 'failed');
});

test('a requested stop ends the loop after the step, without afterEpoch', async () => {
  const notes: string[] = [];
  const trainer = new NotingTrainer(notes, (t) => {
    if (t.iter === 3) t.requestStop('test');
  });
  trainer.registerHooks([new NotingHook('a', notes)]);
  await trainer.trainLoop({ maxEpoch: 3, itersPerEpoch: 2 });
  assert.deepEqual(notes.slice(-4), [
    'runStep 3',
    'a.afterBackward 1/3',
    'a.afterStep 1/3',
    'a.afterTrain(stopped) 1/4',
  ]);
  assert.equal(trainer.outcome, 'stopped');
  assert.equal(trainer.stopReason, 'test');
  assert.equal(trainer.iterInEpoch, 2);
});

test('training goes on in mid-epoch, and at an epoch of which only afterEpoch is left', async () => {
  const notes: string[] = [];
  const trainer = new NotingTrainer(notes);
  trainer.registerHooks([new NotingHook('a', notes)]);
  await trainer.trainLoop({ startEpoch: 1, startIterInEpoch: 2, maxEpoch: 2, itersPerEpoch: 3 });
  assert.deepEqual(
    notes.filter((n) => n.startsWith('runStep') || n.includes('Epoch')),
    ['a.beforeEpoch 1/5', 'runStep 5', 'a.afterEpoch 1/6'],
  );
  notes.length = 0;
  await trainer.trainLoop({ startEpoch: 1, startIterInEpoch: 3, maxEpoch: 2, itersPerEpoch: 3 });
  assert.deepEqual(notes, [
    'a.beforeTrain 1/6',
    'a.beforeEpoch 1/6',
    'a.afterEpoch 1/6',
    'a.afterTrain(finished) 2/6',
  ]);
});

test('a stop asked for before training begins still counts', async () => {
  const trainer = new NotingTrainer();
  trainer.requestStop('early');
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 });
  assert.equal(trainer.outcome, 'stopped');
  assert.deepEqual(trainer.notes, []);
});

test('the event loop turns between steps', async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const trainer = new NotingTrainer([], () => {
    const end = performance.now() + 3;
    while (performance.now() < end);
  });
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 20 });
  clearInterval(timer);
  assert.ok(ticks >= 10, `${ticks} ticks in 20 steps of 3 ms`);
});

test('the storage is open during training only, and knows iteration and epoch', async () => {
  const seen: number[][] = [];
  const trainer = new NotingTrainer([], () => {
    const storage = getEventStorage();
    seen.push([storage.epoch, storage.iter]);
  });
  await trainer.trainLoop({ maxEpoch: 2, itersPerEpoch: 2 });
  assert.deepEqual(seen, [
    [0, 0],
    [0, 1],
    [1, 2],
    [1, 3],
  ]);
  assert.throws(getEventStorage, /no storage is open/);
});
