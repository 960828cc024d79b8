import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EventStorage, type EventWriter, withEventStorage } from '../../src/engine/events.js';
import {
  CallbackHook,
  EvalHook,
  IterationTimer,
  LRScheduler,
  PeriodicCheckpointer,
  PeriodicWriter,
} from '../../src/engine/hooks/index.js';
import { ConsoleWriter } from '../../src/engine/writers/console.js';
import { JsonWriter } from '../../src/engine/writers/json.js';
import { setLinePrinter, setQuiet } from '../../src/logger.js';
import { NotingTrainer } from './support.js';

const tmp = (): string => mkdtempSync(join(tmpdir(), 'reid-engine-'));

function notingWriter(trainer: NotingTrainer, notes: string[]): EventWriter {
  return {
    write: () => void notes.push(`write ${trainer.storage.iter}`),
    close: () => void notes.push('close'),
  };
}

test('writers write every period, after each epoch, and are closed', async () => {
  const notes: string[] = [];
  const trainer = new NotingTrainer();
  trainer.registerHooks([new PeriodicWriter([notingWriter(trainer, notes)], 3)]);
  await trainer.trainLoop({ maxEpoch: 2, itersPerEpoch: 6 });
  // Iterations 5 and 11 are both a period's end and an epoch's: written once.
  assert.deepEqual(notes, ['write 2', 'write 5', 'write 8', 'write 11', 'close']);
});

test('writers write what a stop leaves unwritten', async () => {
  const notes: string[] = [];
  const trainer = new NotingTrainer([], (t) => {
    if (t.iter === 4) t.requestStop('test');
  });
  trainer.registerHooks([new PeriodicWriter([notingWriter(trainer, notes)], 3)]);
  await trainer.trainLoop({ maxEpoch: 2, itersPerEpoch: 6 });
  assert.deepEqual(notes, ['write 2', 'write 4', 'close']);
});

test('evaluation runs every period and after the last epoch, before the writers', async () => {
  for (const [period, expected] of [
    [2, [1, 3, 4]],
    [0, [4]],
    [5, [4]],
  ] as const) {
    const epochs: number[] = [];
    const lines: string[] = [];
    const trainer = new NotingTrainer();
    const writer: EventWriter = {
      write: () => void lines.push(String(trainer.storage.latest().get('mAP') ?? '')),
      close: () => {},
    };
    trainer.registerHooks([
      new EvalHook(period, async () => {
        epochs.push(trainer.epoch);
        return { mAP: 10 * trainer.epoch };
      }),
      new PeriodicWriter([writer]),
    ]);
    await trainer.trainLoop({ maxEpoch: 5, itersPerEpoch: 1 });
    assert.deepEqual(epochs, expected);
    assert.equal(lines.at(-1), '40,4');
  }
});

test('no evaluation after a failed training', async () => {
  let evaluations = 0;
  const trainer = new NotingTrainer([], (t) => {
    if (t.iter === 1) throw new Error('broke');
  });
  trainer.registerHooks([new EvalHook(0, () => ({ n: ++evaluations }))]);
  await assert.rejects(trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 }));
  assert.equal(evaluations, 0);
});

test('checkpoints: periodic, best by metric, final', async () => {
  const saved: string[] = [];
  const metrics = [10, 30, 20, 40, 35];
  const trainer = new NotingTrainer();
  const checkpointer = new PeriodicCheckpointer({
    period: 2,
    save: async (name, { metric, epochDone }) => {
      saved.push(`${name} ${metric} ${epochDone}`);
      return name;
    },
  });
  trainer.registerHooks([new EvalHook(1, () => ({ metric: metrics[trainer.epoch] })), checkpointer]);
  await trainer.trainLoop({ maxEpoch: 5, itersPerEpoch: 1 });
  assert.deepEqual(saved, [
    'model_best 10 true',
    'model_best 30 true',
    'model_0001 30 true',
    'model_best 40 true',
    'model_0003 40 true',
    'model_final 35 true',
  ]);
  assert.deepEqual(checkpointer.stateDict(), { best_metric: 40 });
});

test('a metric of an earlier epoch is not taken for that of this one', async () => {
  const saved: string[] = [];
  const trainer = new NotingTrainer();
  const save = async (name: string, { metric }: { metric: number }): Promise<string> => {
    saved.push(`${name} ${metric}`);
    return name;
  };
  trainer.registerHooks([
    new EvalHook(2, () => ({ metric: 50 })),
    new PeriodicCheckpointer({ period: 1, save }),
  ]);
  await trainer.trainLoop({ maxEpoch: 3, itersPerEpoch: 1 });
  assert.deepEqual(saved, ['model_0000 -1', 'model_best 50', 'model_0001 50', 'model_final 50']);
});

test('a stop saves in mid-epoch; an error does not', async () => {
  for (const [act, expected] of [
    [(t: NotingTrainer) => void t.requestStop('SIGINT'), ['model_interrupted false']],
    [
      () => {
        throw new Error('broke');
      },
      [],
    ],
  ] as const) {
    const saved: string[] = [];
    const trainer = new NotingTrainer([], act);
    const save = async (name: string, { epochDone }: { epochDone: boolean }): Promise<string> => {
      saved.push(`${name} ${epochDone}`);
      return name;
    };
    trainer.registerHooks([new PeriodicCheckpointer({ period: 1, save })]);
    await trainer.trainLoop({ maxEpoch: 2, itersPerEpoch: 2 }).catch(() => {});
    assert.deepEqual(saved, expected);
  }
});

test('the learning rate put is the one the iteration used; schedules move after it', async () => {
  const calls: string[] = [];
  const group = { params: [1, 2], lr: 0.1 };
  const rates = {
    afterStep: (done: number) => {
      calls.push(`step ${done}`);
      group.lr += 0.1;
    },
    afterEpoch: (epoch: number) => calls.push(`epoch ${epoch}`),
  };
  const trainer = new NotingTrainer();
  trainer.registerHooks([new LRScheduler({ paramGroups: [{ params: [1], lr: 9 }, group] }, rates)]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 });
  assert.deepEqual(calls, ['step 1', 'step 2', 'epoch 0']);
  const put = trainer.storage
    .history('lr')
    .entries()
    .map(([lr]) => lr);
  assert.deepEqual(put, [0.1, 0.2]);
});

test('the timer leaves the first iterations out', async () => {
  const trainer = new NotingTrainer();
  trainer.registerHooks([new IterationTimer(3)]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 5 });
  assert.deepEqual(
    trainer.storage
      .history('time')
      .entries()
      .map(([, iter]) => iter),
    [3, 4],
  );
});

test('callback hooks call their functions with the trainer', async () => {
  const calls: string[] = [];
  const trainer = new NotingTrainer();
  const note = (event: string) => (t: unknown) => void calls.push(`${event} ${t === trainer}`);
  trainer.registerHooks([
    new CallbackHook({
      beforeTrain: note('beforeTrain'),
      beforeEpoch: note('beforeEpoch'),
      beforeStep: note('beforeStep'),
      afterBackward: note('afterBackward'),
      afterStep: note('afterStep'),
      afterEpoch: note('afterEpoch'),
      afterTrain: note('afterTrain'),
    }),
  ]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 1 });
  assert.deepEqual(
    calls,
    [
      'beforeTrain',
      'beforeEpoch',
      'beforeStep',
      'afterBackward',
      'afterStep',
      'afterEpoch',
      'afterTrain',
    ].map((event) => `${event} true`),
  );
});

test('metrics.json: one object a line, smoothed, each value once', async () => {
  const path = join(tmp(), 'metrics.json');
  const storage = new EventStorage();
  await withEventStorage(storage, () => {
    const writer = new JsonWriter(path, { window: 3 });
    for (const [i, loss] of [5, 1, 9, 7].entries()) {
      storage.iter = i;
      storage.putScalar('loss', loss);
      storage.putScalar('lr', 0.1 * i, { smoothing: false });
      if (i === 1) {
        writer.write();
        writer.write();
      }
    }
    storage.putScalar('mAP', 30, { smoothing: false });
    writer.write();
    writer.close();
  });
  assert.equal(
    readFileSync(path, 'utf8'),
    '{"iteration":1,"loss":3,"lr":0.1}\n{"iteration":3,"loss":7,"lr":0.30000000000000004,"mAP":30}\n',
  );
});

test('metrics.json: a resumed run replaces what comes after its start, and a broken line', async () => {
  const path = join(tmp(), 'metrics.json');
  writeFileSync(path, '{"iteration":1,"loss":3}\n{"iteration":3,"loss":7}\n{"iteration":5,"lo');
  const storage = new EventStorage(2);
  await withEventStorage(storage, () => {
    const writer = new JsonWriter(path, { startIter: 2 });
    storage.iter = 3;
    storage.putScalar('loss', 6);
    writer.write();
    writer.close();
  });
  assert.equal(readFileSync(path, 'utf8'), '{"iteration":1,"loss":3}\n{"iteration":3,"loss":6}\n');
});

test('the console line tells time left, epoch, losses, rate', async () => {
  const lines: string[] = [];
  const storage = new EventStorage(9);
  storage.epoch = 1;
  storage.putScalars({ total_loss: 4.8971, loss_cls: 4.46, time: 0.5, data_time: 0.01 });
  storage.putScalar('lr', 3.5e-4, { smoothing: false });
  setQuiet(false);
  setLinePrinter((line) => lines.push(line));
  await withEventStorage(storage, () => new ConsoleWriter(110).write());
  setLinePrinter(null);
  setQuiet(true);
  assert.match(
    lines[0],
    /eta: 0:00:50 {2}epoch\/iter: 1\/9 {2}total_loss: 4.897 {2}loss_cls: 4.46 {2}time: 0.5000 {2}data_time: 0.0100 {2}lr: 3.50e-04$/,
  );
});
