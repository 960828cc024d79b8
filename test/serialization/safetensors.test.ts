import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch } from '../support/paths.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-safetensors-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'file.safetensors');

/** A file with this header and data, whatever they are. */
function craft(header: string | object, data = Buffer.alloc(0), length?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(json.length));
  writeFileSync(path, Buffer.concat([size, json, data]));
  return path;
}

test('every dtype goes there and back, in order, with metadata', () => {
  const tensors = new Map<string, torch.Tensor>();
  for (const dtype of [
    torch.uint8,
    torch.bool,
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
  ]) {
    tensors.set(dtype.name, torch.tensor([0, 1, 1]).to(dtype));
  }
  tensors.set('7', torch.ones([2, 3]).t());
  tensors.set('scalar', torch.tensor(2.5));
  tensors.set('empty', torch.empty([0, 3]));
  tensors.set('__proto__', torch.zeros([1]));
  torch.saveSafetensors(tensors, path, { format: 'pt', 'é"': '\n' });
  const back = torch.loadSafetensors(path);
  assert.deepEqual(new Set(back.keys()), new Set(tensors.keys()));
  assert.deepEqual(
    [...back.metadata],
    [
      ['format', 'pt'],
      ['é"', '\n'],
    ],
  );
  for (const [name, tensor] of tensors) {
    const loaded = back.get(name)!;
    assert.equal(loaded.dtype, tensor.dtype);
    assert.deepEqual(loaded.shape, tensor.shape);
    assert.ok(loaded.isContiguous());
    assert.deepEqual(loaded.to(torch.float64).toArray(), tensor.to(torch.float64).toArray(), name);
  }
  // Every tensor starts at a multiple of its element's size, which the reference implementation asks for.
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  assert.equal(headerBytes % 8, 0);
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { data_offsets: number[] }
  >;
  for (const [name, tensor] of tensors) {
    assert.equal(header[name]!.data_offsets[0]! % tensor.dtype.itemsize, 0, name);
  }
});

test('the bytes are those of the format', () => {
  torch.saveSafetensors(new Map([['a', torch.tensor([1, -2])]]), path);
  const header = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  ';
  const expected = Buffer.concat([
    Buffer.from([header.length, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from(header),
    Buffer.from(new Float32Array([1, -2]).buffer),
  ]);
  assert.deepEqual(readFileSync(path), expected);
});

test('the reference implementation reads and writes the same', (t) => {
  const python = pythonTorch();
  const { command, env } = python ?? { command: 'python3', env: process.env };
  if (!python || spawnSync(command, ['-c', 'import safetensors'], { env }).status !== 0) {
    t.skip('Python has no safetensors');
    return;
  }
  const back = join(folder, 'back.safetensors');
  torch.saveSafetensors(new Map([['a', torch.tensor([1, 2]).to(torch.bfloat16)]]), path, { k: 'v' });
  const code = `
import sys, torch, safetensors, safetensors.torch as st
assert safetensors.safe_open(sys.argv[1], 'pt').metadata() == {'k': 'v'}
d = st.load_file(sys.argv[1])
assert torch.equal(d['a'], torch.tensor([1, 2], dtype=torch.bfloat16))
st.save_file({'b': d['a'], 'c': torch.ones(2, 2)}, sys.argv[2])
`;
  const result = spawnSync(command, ['-c', code, path, back], { env, encoding: 'utf8' });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(torch.loadSafetensors(back).get('b')!.toArray(), [1, 2]);
});

const f32 = (shape: unknown, offsets: unknown): object => ({ dtype: 'F32', shape, data_offsets: offsets });
const four = Buffer.alloc(4);
const malformed: Record<string, [() => string, RegExp]> = {
  'a header longer than the file': [() => craft('{}', four, 1000n), /not a safetensors file/],
  'a header of 2^63 bytes': [() => craft('{}', four, 1n << 63n), /not a safetensors file/],
  'a header that is not JSON': [() => craft('{"a":'), /not JSON/],
  'a header that is not UTF-8': [
    () => {
      const file = craft('{"a": "?"}', four);
      const bytes = readFileSync(file);
      bytes[bytes.indexOf(0x3f)] = 0xff;
      writeFileSync(file, bytes);
      return file;
    },
    /not UTF-8/,
  ],
  'a list as tensor': [() => craft({ a: [] }), /"a": its description is not an object/],
  'no dtype': [() => craft({ a: {} }), /no dtype/],
  'an 8-bit float': [
    () => craft({ a: { ...f32([4], [0, 4]), dtype: 'F8_E4M3' } }, four),
    /"F8_E4M3" is not supported/,
  ],
  'an unknown dtype': [() => craft({ a: { ...f32([4], [0, 4]), dtype: 'X' } }, four), /"X" is not supported/],
  'a negative size': [() => craft({ a: f32([-1], [0, 4]) }, four), /shape/],
  'a fractional size': [() => craft({ a: f32([0.5], [0, 2]) }, four), /shape/],
  'a shape of strings': [() => craft({ a: f32(['1'], [0, 4]) }, four), /shape/],
  'an impossible shape': [() => craft({ a: f32([2 ** 52, 2 ** 52, 0], [0, 0]) }), /impossible/],
  'a product that overflows': [() => craft({ a: f32([2 ** 32, 2 ** 32], [0, 0]) }), /takes/],
  'offsets the wrong way': [() => craft({ a: f32([1], [4, 0]) }, four), /takes 4 bytes/],
  'too few bytes for the shape': [() => craft({ a: f32([2], [0, 4]) }, four), /takes 8 bytes, but it has 4/],
  'an overlap': [() => craft({ a: f32([1], [0, 4]), b: f32([1], [2, 6]) }, Buffer.alloc(6)), /"b" overlaps/],
  'the same bytes twice': [() => craft({ a: f32([1], [0, 4]), b: f32([1], [0, 4]) }, four), /overlaps/],
  'a hole': [() => craft({ a: f32([1], [4, 8]) }, Buffer.alloc(8)), /unused/],
  'truncated data': [() => craft({ a: f32([2], [0, 8]) }, four), /truncated/],
  'data too many': [() => craft({ a: f32([1], [0, 4]) }, Buffer.alloc(5)), /take 4 bytes, but 5 follow/],
  'a key twice': [
    () =>
      craft(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}',
        Buffer.alloc(8),
      ),
    /"a" twice/,
  ],
  'metadata that is no text': [() => craft({ __metadata__: { a: 1 } }), /__metadata__\.a is not a string/],
  'booleans of 2': [
    () => craft({ a: { dtype: 'BOOL', shape: [4], data_offsets: [0, 4] } }, Buffer.from([0, 1, 2, 0])),
    /neither 0 nor 1/,
  ],
};
for (const [name, [make, message]] of Object.entries(malformed)) {
  test(`${name} is an error that names the file`, () => {
    const file = make();
    assert.throws(
      () => torch.loadSafetensors(file),
      (error: Error) =>
        error instanceof torch.FileFormatError &&
        error.message.startsWith(file) &&
        message.test(error.message),
    );
  });
}

test('what cannot be written is refused, and the file stays', () => {
  torch.saveSafetensors(new Map([['a', torch.ones([1])]]), path);
  const before = readFileSync(path);
  assert.throws(
    () => torch.saveSafetensors(new Map([['c', torch.ones([1]).to(torch.complex64)]]), path),
    /"c" has the dtype complex64/,
  );
  assert.throws(
    () => torch.saveSafetensors(new Map([['__metadata__', torch.ones([1])]]), path),
    /__metadata__/,
  );
  assert.deepEqual(readFileSync(path), before);
});
