import assert from 'node:assert/strict';
import test from 'node:test';
import { ConfigError } from '../../src/config/index.js';
import type { PyValue } from '../../src/config/pyvalue.js';
import { toPlain } from '../../src/config/pyvalue.js';
import { parseYaml, toPyValue } from '../../src/config/yaml.js';

function scalarOf(text: string): PyValue {
  const node = parseYaml(`KEY: ${text}\n`, 'test.yml').entries.get('KEY');
  assert.ok(node !== undefined);
  return toPyValue(node);
}

test('plain scalars have the types PyYAML gives them', () => {
  const cases: [string, PyValue['kind'], unknown][] = [
    ['1', 'int', 1],
    ['-12', 'int', -12],
    ['0x1F', 'int', 31],
    ['010', 'int', 8],
    ['0b11', 'int', 3],
    ['1_000', 'int', 1000],
    ['1.', 'float', 1],
    ['0.00035', 'float', 0.00035],
    ['7.7e-5', 'float', 7.7e-5],
    ['.5', 'float', 0.5],
    ['.inf', 'float', Number.POSITIVE_INFINITY],
    ['-.inf', 'float', Number.NEGATIVE_INFINITY],
    // No point, or no sign in the exponent: text to YAML 1.1, left to the reading of Python literals.
    ['3e-4', 'str', '3e-4'],
    ['1.5e3', 'str', '1.5e3'],
    ['yes', 'bool', true],
    ['Off', 'bool', false],
    ['True', 'bool', true],
    ['tRue', 'str', 'tRue'],
    ['y', 'str', 'y'],
    ['~', 'none', null],
    ['', 'none', null],
    ['None', 'str', 'None'],
    ['50x', 'str', '50x'],
    ['("A", "B",)', 'str', '("A", "B",)'],
    ["'1'", 'str', '1'],
    ['"yes"', 'str', 'yes'],
    ['2020-10-11', 'str', '2020-10-11'],
    ['1:30', 'str', '1:30'],
  ];
  for (const [text, kind, value] of cases) {
    const got = scalarOf(text);
    assert.deepEqual([got.kind, toPlain(got)], [kind, value], text);
  }
  assert.ok(Number.isNaN(toPlain(scalarOf('.NaN'))));
});

test('sequences, mappings, anchors and merge keys', () => {
  assert.deepEqual(toPlain(scalarOf('[256, 128.,]')), [256, 128]);
  assert.deepEqual(toPlain(scalarOf('\n- a\n- [1, off]')), ['a', [1, false]]);
  const text = 'A: &a {X: 1, Y: 2}\nB:\n  <<: *a\n  Y: 3\n';
  const node = parseYaml(text, 'test.yml').entries.get('B');
  assert.ok(node !== undefined);
  assert.deepEqual(toPlain(toPyValue(node)), { X: 1, Y: 3 });
});

test('empty documents are empty; others must be mappings', () => {
  for (const text of ['', '\n', '# nothing\n', '---\n', 'null\n'])
    assert.equal(parseYaml(text, 'f.yml').entries.size, 0);
  for (const text of ['just text', '- 1\n- 2\n', '3\n']) {
    assert.throws(() => parseYaml(text, 'f.yml'), {
      name: 'ConfigError',
      message: /f\.yml must hold keys and values/,
    });
  }
});

test('syntax errors name file and line; unknown tags and repeated keys are errors', () => {
  for (const text of [
    'A: [1\nB: 2\n',
    'A: !!python/object/apply:os.system ["true"]\n',
    'A: 1\nA: 2\n',
    'A: @x\n',
  ]) {
    assert.throws(
      () => parseYaml(text, 'broken.yml'),
      (error) =>
        error instanceof ConfigError && /broken\.yml/.test(error.message) && /\d+:\d+/.test(error.message),
      text,
    );
  }
});

test('a key called __proto__ is just an unknown key', () => {
  const { entries } = parseYaml('__proto__: {polluted: 1}\n', 'f.yml');
  assert.deepEqual([...entries.keys()], ['__proto__']);
  assert.equal(({} as Record<string, unknown>).polluted, undefined);
});
