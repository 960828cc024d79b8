import assert from 'node:assert/strict';
import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, mock, test } from 'node:test';
import { Checkpointer } from '../../src/engine/checkpoint.js';
import { EventStorage, type EventWriter, withEventStorage } from '../../src/engine/events.js';
import { writeFileAtomic } from '../../src/engine/files.js';
import { PeriodicWriter } from '../../src/engine/hooks/index.js';
import { JsonWriter } from '../../src/engine/writers/json.js';
import { TensorBoardWriter } from '../../src/engine/writers/tensorboard.js';
import { logger, logToFile } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { NotingTrainer } from './support.js';

torch.setNumThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'reid-full-disk-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** While `body` runs, `room` more bytes can be written by this process: then, as disks do, a part, then ENOSPC. */
async function withRoom<T>(room: number, body: () => T | Promise<T>): Promise<T> {
  let left = room;
  const { writeSync } = fs;
  const write = (fd: number, data: Uint8Array, offset = 0, length = data.byteLength - offset): number => {
    if (left === 0) {
      const message = 'ENOSPC: no space left on device, write';
      throw Object.assign(new Error(message), { code: 'ENOSPC', errno: -28, syscall: 'write' });
    }
    const part = Math.min(left, length);
    left -= part;
    return writeSync(fd, data, offset, part);
  };
  const method = mock.method(fs, 'writeSync', write as typeof fs.writeSync);
  syncBuiltinESMExports();
  try {
    return await body();
  } finally {
    method.mock.restore();
    syncBuiltinESMExports();
  }
}

/** The file, what remains of it, and what to do. */
const full = (path: string, left: string) => ({
  code: 'ENOSPC',
  message: `cannot write ${path}: ENOSPC: no space left on device, write. ${left}; make room on that disk, or choose another folder`,
});

const writers: Record<string, (path: string) => [EventWriter, string]> = {
  'metrics.json': (path) => [new JsonWriter(join(path, 'metrics.json')), join(path, 'metrics.json')],
  'an event file': (path) => {
    const writer = new TensorBoardWriter(path);
    return [writer, writer.path];
  },
};
for (const [name, open] of Object.entries(writers)) {
  test(`${name}: a write without room leaves it as it was, and is made up for`, async () => {
    const storage = new EventStorage();
    const put = (iter: number): void => {
      storage.iter = iter;
      storage.putScalar('lr', iter / 10, { smoothing: false });
    };
    await withEventStorage(storage, async () => {
      const [writer, path] = open(mkdtempSync(join(folder, 'writer-')));
      put(1);
      await writer.write();
      const before = readFileSync(path);
      put(2);
      await assert.rejects(
        withRoom(9, async () => writer.write()),
        full(path, 'What it held before is whole'),
      );
      assert.deepEqual(readFileSync(path), before);
      // In parts it works.
      await writer.write();
      assert.ok(readFileSync(path).length > before.length);
      assert.deepEqual(readFileSync(path).subarray(0, before.length), before);
      writer.close();
      if (name === 'metrics.json') {
        assert.equal(readFileSync(path, 'utf8'), '{"iteration":1,"lr":0.1}\n{"iteration":2,"lr":0.2}\n');
      }
    });
  });
}

test('a training without room for its metrics ends, and goes on from whole files', async () => {
  const path = join(folder, 'metrics.json');
  const train = (startEpoch: number, room: number) => {
    const trainer = new NotingTrainer([], ({ iter, storage }) =>
      storage.putScalar('lr', iter, { smoothing: false }),
    );
    trainer.registerHooks([
      new PeriodicWriter(() => [new JsonWriter(path, { startIter: trainer.startIter })], 1),
    ]);
    return withRoom(room, () => trainer.trainLoop({ startEpoch, maxEpoch: 4, itersPerEpoch: 1 }));
  };
  await assert.rejects(train(0, 60), full(path, 'What it held before is whole'));
  await train(2, Number.POSITIVE_INFINITY);
  const lines = [0, 1, 2, 3].map((i) => `{"iteration":${i},"lr":${i}}\n`);
  assert.equal(readFileSync(path, 'utf8'), lines.join(''));
});

test('a line that a crash has cut short is removed, from which iteration on or not', async () => {
  for (const startIter of [undefined, 5]) {
    const path = join(folder, 'cut.json');
    writeFileSync(path, '{"iteration":1}\n{"iteration":2,"l');
    const storage = new EventStorage();
    storage.iter = 5;
    storage.putScalar('lr', 1);
    const writer = new JsonWriter(path, { startIter });
    await withEventStorage(storage, () => writer.write());
    writer.close();
    assert.equal(readFileSync(path, 'utf8'), '{"iteration":1}\n{"iteration":5,"lr":1}\n');
  }
});

test('the log keeps whole lines', async () => {
  const path = join(folder, 'log.txt');
  const close = logToFile(path);
  logger.detail('one');
  await withRoom(5, () => logger.detail('two'));
  close();
  assert.match(readFileSync(path, 'utf8'), /^\[.*\] one\n$/);
});

test('config.yaml, checkpoints and captured values: the error names the file, which is as it was', async () => {
  const place = mkdtempSync(join(folder, 'whole-'));
  const unchanged = (name: string) => full(join(place, name), 'Nothing there has changed');
  writeFileAtomic(join(place, 'config.yaml'), 'OLD: 1\n');
  await assert.rejects(
    withRoom(3, () => writeFileAtomic(join(place, 'config.yaml'), 'NEW: 1\n')),
    unchanged('config.yaml'),
  );
  const values = new Map([['x', torch.ones([64])]]);
  await assert.rejects(
    withRoom(100, () => torch.saveSafetensors(values, join(place, 'iter_0.safetensors'))),
    unchanged('iter_0.safetensors'),
  );
  // The checkpoint is written without this process' writeSync; its pointer is not.
  const model = { stateDict: () => new Map(values), loadStateDict: () => assert.fail() };
  const checkpointer = new Checkpointer(model, place);
  await checkpointer.save('model_0000');
  await assert.rejects(
    withRoom(2, () => checkpointer.save('model_0001')),
    unchanged('last_checkpoint'),
  );
  assert.equal(checkpointer.lastSaved, join(place, 'model_0000.pth'));
  assert.equal(checkpointer.getCheckpointFile(), join(place, 'model_0000.pth'));
  assert.deepEqual(readdirSync(place).sort(), [
    'config.yaml',
    'last_checkpoint',
    'model_0000.pth',
    'model_0001.pth',
  ]);
});
