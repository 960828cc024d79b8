/** Damaged and hostile files: whatever is in them, reading gives a value or an Error, and the process lives on. */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import * as torch from '../../src/torch/index.js';
import { opcodes } from '../../src/torch/serialization/opcodes.js';
import { Pickler } from '../../src/torch/serialization/pickler.js';
import { ZipLayout } from '../../src/torch/serialization/zip-writer.js';
import { repoRoot } from '../support/paths.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-hostile-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'file');
const fixtures = join(repoRoot, 'test/serialization/fixtures');

const zip = readFileSync(join(fixtures, 'zip.pth'));
const legacy = readFileSync(join(fixtures, 'legacy.pth'));
torch.saveSafetensors(
  new Map([
    ['a', torch.ones([3, 2])],
    ['b', torch.tensor([true, false])],
  ]),
  path,
  { k: 'v' },
);
const safetensors = readFileSync(path);

/** Uses whatever was loaded, so that a tensor outside its memory would show. */
function touch(value: unknown, depth = 0): void {
  if (value instanceof torch.Tensor) {
    if (value.numel() < 1e6) value.toTypedArray();
  } else if (depth < 20) {
    if (value instanceof Map) for (const [k, v] of value) [k, v].forEach((x) => void touch(x, depth + 1));
    else if (Array.isArray(value) || value instanceof Set) for (const x of value) touch(x, depth + 1);
  }
}

function readsOrThrows(content: Uint8Array, load: (path: string) => unknown): void {
  writeFileSync(path, content);
  torch.scope(() => {
    try {
      touch(load(path));
    } catch (error) {
      assert.ok(error instanceof Error, String(error));
      assert.ok(!(error instanceof assert.AssertionError));
    }
  });
}

/** A valid file with bytes changed, cut out, doubled, or the end cut off. */
function mutated(whole: Buffer): fc.Arbitrary<Buffer> {
  const place = fc.integer({ min: 0, max: whole.length - 1 });
  const interesting = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
  const change = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('set'), at: place, size: interesting }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('cut'), at: place, size: fc.integer({ min: 1, max: 200 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('double'),
        at: place,
        size: fc.integer({ min: 1, max: 200 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('end'), at: place, size: fc.constant(0) }) },
  );
  return fc.array(change, { minLength: 1, maxLength: 6 }).map((changes) => {
    let bytes = Buffer.from(whole);
    for (const { kind, at, size } of changes) {
      if (at >= bytes.length) continue;
      if (kind === 'set') bytes[at] = size;
      else if (kind === 'cut') bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)]);
      else if (kind === 'double') bytes = Buffer.concat([bytes.subarray(0, at + size), bytes.subarray(at)]);
      else bytes = bytes.subarray(0, at);
    }
    return bytes;
  });
}

for (const [name, whole, load] of [
  ['zip', zip, torch.loadSync],
  ['legacy', legacy, torch.loadSync],
  ['safetensors', safetensors, torch.loadSafetensors],
] as const) {
  test(`a damaged ${name} file is read or is an Error`, () => {
    fc.assert(
      fc.property(mutated(whole), (content) => readsOrThrows(content, load)),
      { numRuns: 300 },
    );
  });
}

/** An archive with this pickle and these storages, checksums right. */
function archive(pickle: Buffer, storages: Record<string, Buffer> = {}): Buffer {
  const layout = new ZipLayout();
  const parts: Buffer[] = [];
  for (const [name, content] of Object.entries({ 'data.pkl': pickle, ...storages })) {
    parts.push(layout.begin(`x/${name}`, content.length), content, layout.endEntry(crc32(content)));
  }
  return Buffer.concat([...parts, layout.end()]);
}

/** The pickle inside of the fixture, whose storages go with it. */
const pickleAt = zip.indexOf(Buffer.from('\x80\x02}q\0', 'latin1'));
const pickle = zip.subarray(pickleAt, zip.indexOf(Buffer.from('PK\x07\x08', 'latin1'), pickleAt));
const storages = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`data/${i}`, Buffer.alloc(48, 1)]));

test('a damaged pickle in a sound archive is read or is an Error', () => {
  assert.doesNotThrow(() => {
    writeFileSync(path, archive(pickle, storages));
    touch(torch.loadSync(path));
  });
  fc.assert(
    fc.property(mutated(Buffer.from(pickle)), (content) =>
      readsOrThrows(archive(content, storages), torch.loadSync),
    ),
    { numRuns: 800 },
  );
});

test('any sequence of opcodes is read or is an Error', () => {
  const codes = opcodes.flatMap((action, code) => (action ? [code] : []));
  const globals = [
    'collections\nOrderedDict\n',
    'torch\nFloatStorage\n',
    'torch._utils\n_rebuild_tensor_v2\n',
    'builtins\nset\n',
    'torch\nSize\n',
    '_codecs\nencode\n',
    'numpy\ndtype\n',
  ];
  const piece = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...codes).map((code) => Buffer.from([code])) },
    { weight: 3, arbitrary: fc.constantFrom(...globals).map((name) => Buffer.from(`c${name}`, 'latin1')) },
    {
      weight: 3,
      arbitrary: fc
        .constantFrom(
          '(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x0ctQ',
          'K\x00',
          'K\x03',
          'X\x01\0\0\0a',
          ')',
          ']',
          '}',
          '(',
        )
        .map((s) => Buffer.from(s, 'latin1')),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)) },
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.boolean(), (pieces, opaque) => {
      const content = archive(Buffer.concat([...pieces, Buffer.from('.')]), storages);
      readsOrThrows(content, (file) => torch.loadSync(file, { opaque }));
    }),
    { numRuns: 1500 },
  );
});

/** A pickle of one tensor, with these words about it. */
function tensorPickle(claims: {
  count?: number;
  offset?: unknown;
  size?: unknown[];
  stride?: unknown[];
  key?: string;
}): Buffer {
  const { count = 4, offset = 0, size = [2, 2], stride = [2, 1], key = '0' } = claims;
  return new Pickler((_, p) => {
    p.global('torch._utils', '_rebuild_tensor_v2');
    p.raw('((');
    p.write('storage');
    p.global('torch', 'FloatStorage');
    for (const item of [key, 'cpu', count]) p.write(item);
    p.raw('tQ');
    p.write(offset);
    for (const list of [size, stride]) {
      p.raw('(');
      for (const item of list) p.write(item);
      p.raw('t');
    }
    p.raw('\x89NtR');
    return true;
  }).dump(new Date(0));
}

const claims: Record<string, [Parameters<typeof tensorPickle>[0], RegExp | undefined]> = {
  'a sound tensor': [{}, undefined],
  'an expanded tensor': [{ size: [5, 2, 2], stride: [0, 2, 1] }, undefined],
  'a storage larger than its entry': [{ count: 5 }, /has 16 bytes where 20 are needed/],
  'a storage of 2^50 elements': [{ count: 2 ** 50 }, /bytes where/],
  'a negative storage': [{ count: -1 }, /non-negative/],
  'a storage that is not there': [{ key: '7' }, /"7" is not in the archive/],
  'a storage outside of data/': [{ key: '../data.pkl' }, /not in the archive/],
  'a size beyond the storage': [{ size: [3, 2] }, /does not fit storage "0".*6 elements.*holds 4/s],
  'a stride beyond the storage': [{ stride: [4, 1] }, /does not fit/],
  'an offset beyond the storage': [{ offset: 1 }, /does not fit/],
  'an offset of 2^62': [{ offset: 2n ** 62n }, /storage offset must be/],
  'a negative offset': [{ offset: -1 }, /storage offset must be/],
  'a negative stride': [{ stride: [-1, 1] }, /stride must be a non-negative/],
  'a negative size': [{ size: [-1, 2] }, /size must be a non-negative/],
  'a product that overflows': [{ size: [2 ** 40, 2 ** 40], stride: [0, 0] }, /impossible size/],
  'an extent that overflows': [{ size: [2 ** 51], stride: [2 ** 51] }, /does not fit/],
  'a fractional size': [{ size: [1.5], stride: [1] }, /non-negative integer/],
  'sizes without strides': [{ size: [2], stride: [] }, /1 sizes and 0 strides/],
  'a hundred dimensions': [{ size: Array(100).fill(1), stride: Array(100).fill(1) }, /100 dimensions/],
};
for (const [name, [claim, message]] of Object.entries(claims)) {
  test(`${name} is ${message ? 'an error' : 'read'}`, () => {
    writeFileSync(path, archive(tensorPickle(claim), { 'data/0': Buffer.alloc(16) }));
    if (message) assert.throws(() => torch.loadSync(path), message);
    else touch(torch.loadSync(path));
  });
}

test('entries that overlap cannot claim more than the file holds', () => {
  // Many keys, each of which the directory leads to the same bytes.
  const content = Buffer.alloc(4000);
  const many = new Pickler((key, p) => {
    p.global('torch._utils', '_rebuild_tensor_v2');
    p.raw('((');
    p.write('storage');
    p.global('torch', 'FloatStorage');
    for (const item of [`${(key as Date).getTime()}`, 'cpu', 1000]) p.write(item);
    p.raw('tQK\0K\x01\x85K\x01\x85\x89NtR');
    return true;
  }).dump(Array.from({ length: 1000 }, (_, i) => new Date(i)));
  const layout = new ZipLayout();
  const parts = [layout.begin('x/data.pkl', many.length), many, layout.endEntry(crc32(many))];
  parts.push(layout.begin('x/data/000', content.length), content, layout.endEntry(crc32(content)));
  const file = Buffer.concat([...parts, layout.end()]);
  const end = file.lastIndexOf(Buffer.from('PK\x01\x02', 'latin1'));
  const record = file.subarray(end, end + 46 + 10);
  const start = file.indexOf(Buffer.from('PK\x01\x02', 'latin1'));
  const records = [file.subarray(start, end)];
  for (let i = 0; i < 1000; i++) {
    const copy = Buffer.from(record);
    copy.write(`x/data/${i}`.padEnd(10, ' '), 46, 'latin1');
    copy.writeUInt16LE(`x/data/${i}`.length, 28);
    records.push(copy.subarray(0, 46 + `x/data/${i}`.length));
  }
  const directory = Buffer.concat(records);
  const tail = Buffer.alloc(22);
  tail.writeUInt32LE(0x06054b50, 0);
  tail.writeUInt16LE(1001, 8);
  tail.writeUInt16LE(1001, 10);
  tail.writeUInt32LE(directory.length, 12);
  tail.writeUInt32LE(start, 16);
  writeFileSync(path, Buffer.concat([file.subarray(0, start), directory, tail]));
  assert.throws(() => torch.loadSync(path), /storages of \d+ bytes in a file of \d+/);
});

test('a hostile file leaves no tensors behind', () => {
  const before = torch.memoryStats().liveTensors;
  writeFileSync(path, legacy.subarray(0, legacy.length - 5));
  for (let i = 0; i < 10; i++) assert.throws(() => torch.loadSync(path));
  assert.ok(torch.memoryStats().liveTensors <= before);
});
