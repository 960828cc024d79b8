import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ByteReader } from '../../src/torch/serialization/byte-reader.js';
import type { Host } from '../../src/torch/serialization/globals.js';
import { Pickler } from '../../src/torch/serialization/pickler.js';
import { type UnpickleOptions, Unpickler } from '../../src/torch/serialization/unpickler.js';
import {
  FileFormatError,
  OrderedDict,
  PyFloat,
  PyOpaque,
  PyTuple,
  pyFloat,
} from '../../src/torch/serialization/values.js';
import { repoRoot } from '../support/paths.js';

const noTensors: Host = {
  storage: () => assert.fail('no storage expected'),
  tensor: () => assert.fail('no tensor expected'),
  parameter: () => assert.fail('no parameter expected'),
  dtype: (name) => `dtype ${name}`,
  device: (type, index) => `device ${type} ${index}`,
};

function unpickle(bytes: Buffer | string, options?: UnpickleOptions): unknown {
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
  return new Unpickler(new ByteReader(buffer), noTensors, options).load();
}

const pickles = JSON.parse(
  readFileSync(join(repoRoot, 'test/serialization/fixtures/pickles.json'), 'utf8'),
) as Record<string, string[]>;

const shared = ['shared'];
const expected: Record<string, unknown> = {
  none: null,
  booleans: [true, false],
  ints: [
    ...[0, -1, 255, 256, 65535, 65536, 2 ** 31 - 1, -(2 ** 31), 2 ** 31],
    ...[2n ** 53n, -(2n ** 53n), 2n ** 63n, -(2n ** 63n), 2n ** 200n],
  ],
  floats: [1.5, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-300, 3],
  nan: Number.NaN,
  strings: ['', 'plain', 'é😀', 'a\nb\\c', 'x'.repeat(300)],
  bytes: [new Uint8Array(0), new Uint8Array([0, 255, 10]), new Uint8Array(300).fill(121)],
  bytearray: new Uint8Array([1, 254]),
  lists: [[], [[], [1, [2]]]],
  tuples: [new PyTuple(), new PyTuple(1), new PyTuple(1, 2), new PyTuple(1, 2, 3), new PyTuple(1, 2, 3, 4)],
  dict: new Map<unknown, unknown>([
    ['a', 1],
    [2, 'b'],
    [new PyTuple(3), null],
    ['__proto__', new Map([['x', 1]])],
  ]),
  set: new Set([1]),
  frozenset: new Set([1]),
  ordered: new OrderedDict([
    ['b', 1],
    ['a', 2],
  ]),
  defaultdict: new Map([['a', [1]]]),
  counter: new Map([
    ['a', 2],
    ['b', 1],
  ]),
  shared: [shared, shared],
  numpy: [0.1, 0.5, 1.5, -7, 200, true, 3],
};

for (const [name, variants] of Object.entries(pickles)) {
  if (name === 'recursive') continue;
  test(`reads ${name} in every protocol`, () => {
    variants.forEach((text, protocol) => {
      assert.deepStrictEqual(unpickle(Buffer.from(text, 'base64')), expected[name], `protocol ${protocol}`);
    });
  });
}

test('what is one object in the file is one object here, even inside itself', () => {
  for (const text of pickles.shared!) {
    const [a, b] = unpickle(Buffer.from(text, 'base64')) as unknown[];
    assert.equal(a, b);
  }
  for (const text of pickles.recursive!) {
    const list = unpickle(Buffer.from(text, 'base64')) as unknown[];
    assert.equal(list[1], list);
  }
});

test('written pickles read back as they were', () => {
  for (const [name, value] of Object.entries(expected)) {
    assert.deepStrictEqual(unpickle(new Pickler().dump(value)), value, name);
  }
  const list: unknown[] = [1];
  list.push(list);
  const back = unpickle(new Pickler().dump(list)) as unknown[];
  assert.equal(back[1], back);
});

test('integral floats keep their type on demand', () => {
  const bytes = new Pickler().dump([pyFloat(1), 1, 0.5, new Map([[pyFloat(2), pyFloat(3)]])]);
  assert.deepStrictEqual(unpickle(bytes), [1, 1, 0.5, new Map([[2, 3]])]);
  const [one, int, half, map] = unpickle(bytes, { keepFloats: true }) as [
    PyFloat,
    number,
    number,
    Map<unknown, unknown>,
  ];
  assert.ok(one instanceof PyFloat);
  assert.equal(Number(one) + 1, 2);
  assert.equal(int, 1);
  assert.equal(half, 0.5);
  assert.deepStrictEqual([...map.keys()], [2]);
  assert.deepStrictEqual(new Pickler().dump([one, int]), new Pickler().dump([pyFloat(1), 1]));
});

test('strings of Python 2 are text, or bytes where they are no UTF-8', () => {
  assert.equal(unpickle("S'caf\\xc3\\xa9 \\'x\\''\n."), "café 'x'");
  assert.deepStrictEqual(unpickle('U\x02\xff\xfe.'), new Uint8Array([255, 254]));
});

test('dtypes and devices go through the host', () => {
  assert.equal(unpickle('ctorch\nfloat32\n.'), 'dtype float32');
  assert.equal(unpickle('ctorch\ndevice\n(X\x04\0\0\0cudaK\x01tR.'), 'device cuda 1');
});

for (const [module, name] of [
  ['os', 'system'],
  ['posix', 'system'],
  ['builtins', 'eval'],
  ['__builtin__', 'getattr'],
  ['torch', 'load'],
  ['torch.nn.modules.linear', 'Linear'],
  ['__proto__', 'constructor'],
  ['numpy.core.multiarray', '_reconstruct'],
]) {
  test(`refuses ${module}.${name} and says that nothing was executed`, () => {
    for (const pickle of [
      `c${module}\n${name}\n(X\x02\0\0\0lstR.`,
      `(X\x02\0\0\0lsi${module}\n${name}\n.`,
      `(c${module}\n${name}\nX\x02\0\0\0lso.`,
      `\x80\x04\x8c${String.fromCharCode(module!.length)}${module}\x8c${String.fromCharCode(name!.length)}${name}\x93.`,
    ]) {
      assert.throws(
        () => unpickle(pickle),
        (error: Error) =>
          error instanceof FileFormatError &&
          error.message.includes(`${module}.${name}`) &&
          /Nothing in a file is executed.*state_dict/s.test(error.message),
      );
    }
  });
}

test('unknown objects can be had as inert data', () => {
  const value = unpickle('(dX\x04\0\0\0argscargparse\nNamespace\n)\x81}X\x02\0\0\0lrG?\xe0\0\0\0\0\0\0sbs.', {
    opaque: true,
  });
  const args = (value as Map<string, unknown>).get('args');
  assert.ok(args instanceof PyOpaque);
  assert.equal(args.global, 'argparse.Namespace');
  assert.deepStrictEqual(args.state, new Map([['lr', 0.5]]));
});

const malformed: Record<string, [string, RegExp]> = {
  'an empty pickle': ['', /ends/],
  'no STOP': ['K\x01', /ends/],
  'STOP without a value': ['.', /stack/],
  'an unknown opcode': ['\xff.', /not a pickle opcode/],
  'a protocol of the future': ['\x80\x09N.', /protocol/],
  'a string longer than the file': ['X\xff\xff\xff\x7fabc.', /2147483647 more bytes/],
  'a string of 2^64 bytes': ['\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.', /impossible length/],
  'bytes of 2^52 bytes': ['\x8e\0\0\0\0\0\0\x10\0a.', /more bytes/],
  'a negative LONG4 length': ['\x8b\xff\xff\xff\xff.', /more bytes/],
  'a huge decimal': [`I${'9'.repeat(5000)}\n.`, /integer/],
  'a malformed decimal': ['I0x10\n.', /integer/],
  'a malformed float': ['Fone\n.', /float/],
  'a line without an end': [`L${'1'.repeat(100)}`, /end of line/],
  'TUPLE without a mark': ['K\x01t.', /end without a beginning/],
  'POP of nothing': ['0.', /stack/],
  'TUPLE2 across a mark': ['K\x01(K\x02\x86.', /stack/],
  'STOP inside a mark': ['K\x01(.', /stack/],
  'APPEND to a dictionary': ['}K\x01a.', /not a list/],
  'APPEND to a tuple': [')K\x01a.', /not a list/],
  'SETITEM of a list': [']K\x01K\x02s.', /not a dictionary/],
  'a key without a value': ['}(K\x01u.', /key without a value/],
  'an unknown memo entry': ['h\x05.', /refers to value 5/],
  'REDUCE of a number': ['K\x01)R.', /not a known name/],
  'REDUCE without a tuple': ['ccollections\nOrderedDict\nK\x01R.', /tuple of arguments/],
  'BUILD of a list': [']}b.', /takes none/],
  'a persistent id that is no tuple': ['K\x01Q.', /persistent id/],
  'a text persistent id': ['Pos.system\n.', /persistent id/],
  'an extension': ['\x82\x01.', /registry/],
  'an outside buffer': ['\x97.', /outside/],
  'a negative size': ['ctorch\nSize\n(J\xff\xff\xff\xfft\x85R.', /non-negative/],
  'an array without elements named by a number': [
    'cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.',
    /expected a string/,
  ],
  'a dictionary of singles': ['ccollections\nOrderedDict\n((K\x01tt\x85R.', /pair/],
  'another encoding': ['c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0hex\x86R.', /encoding/],
  'keyword arguments': ['ccollections\nOrderedDict\n)}K\x01K\x02s\x92.', /keyword/],
};
for (const [name, [pickle, message]] of Object.entries(malformed)) {
  test(`${name} is an error`, () => {
    assert.throws(
      () => unpickle(pickle),
      (error: Error) => error instanceof FileFormatError && message.test(error.message),
    );
  });
}

test('a small file cannot claim much memory', () => {
  // Each would make billions of values if let.
  const bombs = {
    containers: Buffer.alloc(1 << 22, '}'),
    values: Buffer.alloc(1 << 25, 'N'),
    marks: Buffer.alloc(1 << 25, '('),
    copies: Buffer.from(`](${'N'.repeat(100_000)}eq\0${'cbuiltins\nset\nh\0\x85R'.repeat(1000)}.`, 'latin1'),
    bytes: Buffer.from(
      `X\x40\x42\x0f\0${'a'.repeat(1_000_000)}q\0${'c_codecs\nencode\nh\0\x85R'.repeat(3000)}.`,
      'latin1',
    ),
  };
  for (const [name, pickle] of Object.entries(bombs)) {
    const before = process.memoryUsage().rss;
    assert.throws(() => unpickle(pickle), /more than \d+/, name);
    const grown = (process.memoryUsage().rss - before) / 2 ** 20;
    assert.ok(grown < 1200, `${name}: ${grown} MB`);
  }
});

test('deep nesting is read, and refused on writing', () => {
  let value = unpickle(Buffer.from(`${']'.repeat(100_000)}${'a'.repeat(99_999)}.`, 'latin1'));
  assert.throws(() => new Pickler().dump(value), /nesting deeper than 500/);
  let depth = 0;
  for (; Array.isArray(value); value = value[0]) depth++;
  assert.equal(depth, 100_000);
});

test('what cannot be written is named by its place', () => {
  for (const [value, message] of [
    [{ a: [1, { b: () => 1 }] }, /a function at a\[1\]\.b/],
    [new Map([['k', new Date()]]), /a Date at k/],
    [[undefined], /undefined at \[0\]/],
    [Symbol('x'), /a symbol at the top/],
    [2n ** 3000n, /integer of more than 255 bytes/],
    [new Float32Array(2), /a Float32Array/],
  ] as const) {
    assert.throws(() => new Pickler().dump(value), message);
  }
});
