import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { decodeString, type PyValue, parseLiteral } from '../../src/config/index.js';
import { repr, toPlain } from '../../src/config/pyvalue.js';

const plain = (text: string): unknown => {
  const value = parseLiteral(text);
  return value && toPlain(value);
};

test('numbers as in Python', () => {
  for (const [text, value] of [
    ['1', 1],
    ['-1', -1],
    ['+ 7', 7],
    ['1_000', 1000],
    ['0x1f', 31],
    ['0o17', 15],
    ['0b101', 5],
    ['3e-4', 3e-4],
    ['.5', 0.5],
    ['5.', 5],
    ['1_0.5', 10.5],
    ['1e999', Number.POSITIVE_INFINITY],
    ['-(2)', -2],
    ['  1', 1],
    ['1 # one', 1],
  ] as const) {
    assert.equal(plain(text), value, text);
  }
  assert.deepEqual(
    [parseLiteral('1')?.kind, parseLiteral('1.')?.kind, parseLiteral('1e0')?.kind],
    ['int', 'float', 'float'],
  );
});

test('strings: quotes, escapes, prefixes, adjacent ones', () => {
  for (const [text, value] of [
    [`'a'`, 'a'],
    [`"it's"`, "it's"],
    [`"a" 'b'`, 'ab'],
    [`'''x\ny'''`, 'x\ny'],
    [String.raw`"\n\t\x41\u0042\101\U0001F600"`, '\n\tABA😀'],
    [String.raw`"\d"`, String.raw`\d`],
    [String.raw`r"\n"`, String.raw`\n`],
    ['u"x"', 'x'],
  ] as const) {
    assert.equal(plain(text), value, text);
  }
});

test('tuples, lists and dicts, nested, with trailing commas', () => {
  assert.deepEqual(parseLiteral('("A", "B",)'), {
    kind: 'tuple',
    items: [
      { kind: 'str', value: 'A' },
      { kind: 'str', value: 'B' },
    ],
  });
  assert.equal(parseLiteral('()')?.kind, 'tuple');
  assert.equal(parseLiteral('(1)')?.kind, 'int');
  assert.equal(parseLiteral('1, 2')?.kind, 'tuple');
  assert.deepEqual(plain('[(1, 2,), [], "x", None, True]'), [[1, 2], [], 'x', null, true]);
  assert.deepEqual(plain('{"a": 1, (1, 2): [2],}'), { a: 1, '(1, 2)': [2] });
  assert.deepEqual(plain('[\n1, # one\n2]'), [1, 2]);
});

test('what is no literal stays a string', () => {
  for (const text of [
    ...[
      '50x',
      '1.0x',
      'cuda:0',
      'logs/a b',
      '012',
      '1__0',
      '1.2.3',
      'true',
      'none',
      'nan',
      '',
      ' ',
      '(',
      '[1,,]',
      '(,)',
    ],
    ...[
      '--1',
      '-True',
      '1 2',
      '"open',
      '"a"1',
      '1+1',
      'f"x"',
      'b"x"',
      '{1}',
      '{[]: 1}',
      '...',
      '1j',
      '*a',
      'a.b',
      '#',
    ],
    ...['"\n"', '1\n2', '\\N', '"\\N{DASH}"', '"\\x4"', '"\\U00110000"', '9007199254740993', '1\0'],
    '('.repeat(100_000),
  ]) {
    assert.equal(parseLiteral(text), undefined, text.slice(0, 40));
    assert.deepEqual(decodeString(text), { kind: 'str', value: text });
  }
});

test('the parser answers any text, and fast', () => {
  const pieces = fc.constantFrom(
    ...[
      '(',
      ')',
      '[',
      ']',
      '{',
      '}',
      ',',
      ':',
      '"',
      "'",
      '\\',
      '\n',
      ' ',
      '#',
      '-',
      '+',
      '.',
      '_',
      'e',
      '0',
      '1',
      'x',
      'r',
      'True',
    ],
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(pieces).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(text, (source) => {
      const value = parseLiteral(source);
      assert.ok(value === undefined || typeof value.kind === 'string');
    }),
    { numRuns: 3000 },
  );
});

/** Any value a configuration can hold, NaN excepted, for which Python has no literal. */
const scalar: fc.Arbitrary<PyValue> = fc.oneof(
  fc.constant<PyValue>({ kind: 'none' }),
  fc.boolean().map((value): PyValue => ({ kind: 'bool', value })),
  fc.maxSafeInteger().map((value): PyValue => ({ kind: 'int', value: value === 0 ? 0 : value })),
  fc.double({ noNaN: true }).map((value): PyValue => ({ kind: 'float', value })),
  fc.string({ unit: 'binary' }).map((value): PyValue => ({ kind: 'str', value })),
);
const value = fc.letrec<{ any: PyValue }>((tie) => ({
  any: fc.oneof(
    { depthSize: 'small' },
    scalar,
    fc.array(tie('any')).map((items): PyValue => ({ kind: 'list', items })),
    fc.array(tie('any')).map((items): PyValue => ({ kind: 'tuple', items })),
    fc.array(fc.tuple(scalar, tie('any'))).map((entries): PyValue => ({ kind: 'dict', entries })),
  ),
})).any;

test('a printed value reads back as itself', () => {
  fc.assert(
    fc.property(value, (one) => assert.deepEqual(parseLiteral(repr(one)), one)),
    { numRuns: 1000 },
  );
});
