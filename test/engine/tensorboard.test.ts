import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import protobuf from 'protobufjs';
import sharp from 'sharp';
import { EventStorage, withEventStorage } from '../../src/engine/events.js';
import { PeriodicWriter } from '../../src/engine/hooks/index.js';
import { crc32c } from '../../src/engine/writers/event-file.js';
import { TensorBoardWriter } from '../../src/engine/writers/tensorboard.js';
import * as torch from '../../src/torch/index.js';
import { NotingTrainer } from './support.js';

torch.setNumThreads(1);

// The messages that TensorBoard reads, as far as they are written here.
const SCHEMA = `
  syntax = "proto3";
  message SessionLog { int32 status = 1; }
  message Histogram {
    double min = 1; double max = 2; double num = 3; double sum = 4; double sum_squares = 5;
    repeated double bucket_limit = 6; repeated double bucket = 7;
  }
  message Image { int32 height = 1; int32 width = 2; int32 colorspace = 3; bytes encoded_image_string = 4; }
  message Value { string tag = 1; oneof value { float simple_value = 2; Image image = 4; Histogram histo = 5; } }
  message Summary { repeated Value value = 1; }
  message Event {
    double wall_time = 1; int64 step = 2;
    oneof what { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
  }`;
const Event = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType('Event');

interface Value {
  tag: string;
  simple_value?: number;
  image?: { height: number; width: number; colorspace: number; encoded_image_string: Uint8Array };
  histo?: { min?: number; max: number; num: number; sum: number; bucket_limit: number[]; bucket: number[] };
}
interface Message {
  wall_time: number;
  step: number;
  file_version?: string;
  summary?: { value: Value[] };
  session_log?: { status: number };
}

const unmask = (masked: number): number => {
  const turned = (masked - 0xa282ead8) >>> 0;
  return ((turned >>> 17) | (turned << 15)) >>> 0;
};

/** All records of a file, each with its checksums verified. */
function readEvents(path: string): Message[] {
  const file = readFileSync(path);
  const events: Message[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    assert.equal(unmask(file.readUInt32LE(at + 8)), crc32c(file.subarray(at, at + 8)));
    const content = file.subarray(at + 12, at + 12 + length);
    assert.equal(unmask(file.readUInt32LE(at + 12 + length)), crc32c(content));
    // proto3: a number that is not there is 0.
    events.push({ step: 0, ...Event.toObject(Event.decode(content), { longs: Number }) } as Message);
    at += 16 + length;
  }
  return events;
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'reid-tensorboard-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('CRC-32C: the vectors of RFC 3720, and the usual check', () => {
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});

test('scalars, a histogram and pictures, as another protobuf reader finds them', async () => {
  await inFolder(async (folder) => {
    const storage = new EventStorage();
    const writer = new TensorBoardWriter(folder);
    const before = Date.now() / 1000;
    await withEventStorage(storage, async () => {
      for (storage.iter = 0; storage.iter < 3; storage.iter++) {
        storage.putScalar('total_loss', [4, 1, 2][storage.iter]!);
        storage.putScalar('lr', 0.25 / (storage.iter + 1), { smoothing: false });
      }
      storage.iter = 2;
      storage.putScalar('EmojiReID/mAP', 71.5, { smoothing: false });
      storage.putHistogram('weights/ß', torch.tensor([0, 1, 2, 3, 4, Number.NaN]));
      storage.putImage('rgb', torch.tensor([[[0, 1]], [[0.5, 0]], [[0, 0]]]));
      storage.putImage('grey', torch.tensor([[[7], [200]]], { dtype: torch.uint8 }));
      await writer.write();
      // Nothing new: no record but for what the hook would have cleared.
      storage.written();
      await writer.write();
      storage.iter = 300;
      storage.putScalar('total_loss', 3);
      await writer.write();
    });
    writer.close();
    assert.match(writer.path, /events\.out\.tfevents\.\d{10}\..+/);
    const [first, second, third, ...more] = readEvents(writer.path);
    assert.equal(more.length, 0);
    assert.equal(first!.file_version, 'brain.Event:2');
    assert.equal(second!.step, 2);
    assert.ok(second!.wall_time >= before && second!.wall_time <= Date.now() / 1000);
    const values = new Map(second!.summary!.value.map((value) => [value.tag, value]));
    assert.deepEqual([...values.keys()], ['total_loss', 'lr', 'EmojiReID/mAP', 'weights/ß', 'rgb', 'grey']);
    assert.equal(values.get('total_loss')!.simple_value, 2, 'the median');
    assert.equal(values.get('lr')!.simple_value, Math.fround(0.25 / 3));
    assert.equal(values.get('EmojiReID/mAP')!.simple_value, 71.5);
    const { min, max, num, sum, bucket, bucket_limit: limits } = values.get('weights/ß')!.histo!;
    // proto3: a number that is not there is 0.
    assert.deepEqual([min ?? 0, max, num, sum], [0, 4, 5, 10]);
    assert.equal(limits.length, bucket.length);
    assert.equal(limits.at(-1), 4);
    const filled = limits.filter((_, i) => bucket[i]! > 0);
    assert.deepEqual(filled, [0.0625, 1.0625, 2.0625, 3.0625, 4]);
    const rgb = values.get('rgb')!.image!;
    assert.deepEqual([rgb.width, rgb.height, rgb.colorspace], [2, 1, 3]);
    const pixels = async (png: Uint8Array, space: 'srgb' | 'b-w') => [
      ...(await sharp(png).toColourspace(space).raw().toBuffer()),
    ];
    assert.deepEqual(await pixels(rgb.encoded_image_string, 'srgb'), [0, 128, 0, 255, 0, 0]);
    const grey = values.get('grey')!.image!;
    assert.deepEqual([grey.width, grey.height, grey.colorspace], [1, 2, 1]);
    assert.deepEqual(await pixels(grey.encoded_image_string, 'b-w'), [7, 200]);
    assert.equal(third!.step, 300);
    assert.deepEqual(third!.summary!.value, [{ tag: 'total_loss', simple_value: 2.5 }]);
  });
});

test('a resumed run declares later steps of earlier files void, and repeats nothing', async () => {
  await inFolder(async (folder) => {
    const storage = new EventStorage(100);
    storage.iter = 99;
    storage.putScalar('loss', 1);
    const writer = new TensorBoardWriter(folder, { startIter: 100 });
    await withEventStorage(storage, async () => {
      await writer.write();
      storage.iter = 100;
      storage.putScalar('loss', 3);
      await writer.write();
    });
    writer.close();
    const events = readEvents(writer.path);
    assert.deepEqual(
      events.map(({ step, session_log, summary }) => [step, session_log?.status, summary?.value.length]),
      [
        [0, undefined, undefined],
        [100, 1, undefined],
        [100, undefined, 1],
      ],
    );
  });
});

test('histograms: equal values, no values, values in half precision', () => {
  const read = (x: torch.Tensor, bins: number) => torch.readHistogram(torch.packHistogram(x, bins));
  const equal = read(torch.full([5], 3), 2);
  assert.deepEqual([equal.min, equal.max, equal.edges, equal.counts], [3, 3, [2, 3, 4], [0, 5]]);
  const none = read(torch.tensor([Number.NaN, Number.POSITIVE_INFINITY]), 2);
  assert.deepEqual([none.count, none.nonFinite, none.counts], [0, 2, [0, 0]]);
  const half = read(torch.ones([3000], { dtype: torch.float16 }), 1);
  assert.deepEqual([half.counts, half.sum], [[3000], 3000]);
  assert.throws(() => torch.packHistogram(torch.ones([1]), 0), /1 or more/);
});

test('the hook waits for the writer and then forgets histograms and pictures', async () => {
  await inFolder(async (folder) => {
    const trainer = new NotingTrainer([], ({ storage }) => {
      storage.putImage('step', torch.zeros([1, 1, 1]));
    });
    trainer.registerHooks([new PeriodicWriter(() => [new TensorBoardWriter(folder)], 2)]);
    await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 5 });
    assert.equal(trainer.storage.pictures().length, 0);
    const [name] = readdirSync(folder);
    const steps = readEvents(join(folder, name!)).flatMap(({ step, summary }) => (summary ? [step] : []));
    assert.deepEqual(steps, [0, 1, 2, 3, 4]);
  });
});

test('a picture of another shape is refused', () => {
  assert.throws(() => new EventStorage().putImage('x', torch.zeros([2, 4, 4])), /\[3 or 1, height, width\]/);
});
