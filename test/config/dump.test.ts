import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { CfgNode, type Config, getCfg, tuple } from '../../src/config/index.js';
import { PyFloat } from '../../src/config/pyvalue.js';
import { folderWith } from './files.js';

test('the dump reads as FastReID writes: tuples, floats with a point, none of our keys', () => {
  const text = getCfg().dump();
  assert.match(text, /^ {4}NAME: \("CrossEntropyLoss",\)$/m);
  assert.match(text, /^ {4}STRIDE_SIZE: \(16, 16\)$/m);
  assert.match(text, /^ {2}STEPS: \[30, 55\]$/m);
  assert.match(text, /^ {2}ETA_MIN_LR: 1\.0e-7$/m);
  assert.match(text, /^ {2}HEADS_LR_FACTOR: 1\.0$/m);
  assert.match(text, /^ {2}PIXEL_MEAN: \[123\.675, 116\.28, 103\.53\]$/m);
  assert.match(text, /^ {4}DEPTH: '50x'$/m);
  assert.doesNotMatch(text, /COMPAT|NORM_SPLIT/);
  const ours = getCfg();
  ours.COMPAT = 'fastreid';
  ours.MODEL.HEADS.NORM_SPLIT = 2;
  assert.match(ours.dump(), /^COMPAT: fastreid$/m);
  assert.match(ours.dump(), /^ {4}NORM_SPLIT: 2$/m);
});

test('dumpDiff holds what differs, and nothing else', () => {
  const cfg = getCfg();
  assert.equal(cfg.dumpDiff(getCfg()), '');
  cfg.mergeFromList(['SOLVER.BASE_LR', '1', 'MODEL.LOSSES.NAME', '("A", "B")', 'INPUT.REA.ENABLED', 'True']);
  assert.equal(
    cfg.dumpDiff(getCfg()),
    'MODEL:\n  LOSSES:\n    NAME: ("A", "B")\nINPUT:\n  REA:\n    ENABLED: true\nSOLVER:\n  BASE_LR: 1.0\n',
  );
});

/** Strings that are awkward in YAML or Python, among any others. */
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.constantFrom(
    ...[
      '',
      ' ',
      'a ',
      ' a',
      '50',
      '"50"',
      "'",
      '"',
      'a: b',
      'a #b',
      '#',
      '- a',
      '-',
      '~',
      'null',
      'yes',
      'No',
      'y',
      '1.5',
      '1e5',
    ],
    ...[
      '.inf',
      '.nan',
      '0x1f',
      '1:30',
      '2020-10-11',
      '<<',
      '=',
      '(',
      '(a',
      '[1]',
      '{}',
      '("a",)',
      '&a',
      '*a',
      '!a',
      '|',
      '>',
      '%a',
    ],
    ...[
      '@a',
      '`a',
      'a\nb',
      '\n',
      '\t',
      'a\\b',
      'é',
      '😀',
      '\u2028',
      '\u0085',
      '\u007f',
      '\ud800',
      '\0',
      'None',
      '...',
      '1j',
      '{1}',
      'True',
      '?',
      'a:',
    ],
  ),
);
const number = fc.oneof(fc.maxSafeInteger(), fc.double());
const item = fc.oneof(text, number, fc.boolean(), fc.constant(null));
const nested = fc.oneof(item, fc.array(item, { maxLength: 3 }));
const list = fc.array(nested, { maxLength: 4 });

function writeDump(folder: string, cfg: CfgNode): string {
  const file = join(folder, 'dump.yml');
  writeFileSync(file, cfg.dump());
  return file;
}

function sameTree(a: CfgNode, b: CfgNode): void {
  for (const path of a.paths()) assert.deepEqual(b.getPy(path), a.getPy(path), path);
}

test('any configuration dumps and loads to itself', (t) => {
  const folder = folderWith(t, {});
  const values = fc.record({
    text,
    other: text,
    float: fc.double(),
    int: fc.maxSafeInteger(),
    list,
    tuple: list,
    bool: fc.boolean(),
  });
  const definition = { T: 'x', U: 'x', SUB: { F: 0.5, I: 1, L: [], P: tuple<unknown>(), B: true } };
  fc.assert(
    fc.property(values, (v) => {
      const cfg = new CfgNode(definition);
      cfg
        .set('T', v.text)
        .set('U', v.other)
        .set('SUB.F', new PyFloat(v.float))
        .set('SUB.I', v.int === 0 ? 0 : v.int);
      cfg.set('SUB.L', v.list).set('SUB.P', v.tuple).set('SUB.B', v.bool);
      const file = writeDump(folder, cfg);
      const back = new CfgNode(definition).mergeFromFile(file);
      sameTree(cfg, back);
      assert.equal(back.dump(), cfg.dump());
    }),
    { numRuns: 500 },
  );
});

test('nested tuples survive in lists', (t) => {
  const cfg = new CfgNode({ A: [tuple(1, 2), [tuple()], 'x'] });
  const back = new CfgNode({ A: [] as unknown[] }).mergeFromFile(writeDump(folderWith(t, {}), cfg));
  assert.deepEqual(back.getPy('A'), cfg.getPy('A'));
});

test('a whole configuration with overrides dumps and loads to itself', (t) => {
  const cfg: Config = getCfg().mergeFromList([
    'SOLVER.BASE_LR',
    '5e-5',
    'MODEL.WEIGHTS',
    'None',
    'SOLVER.CLIP_GRADIENTS.NORM_TYPE',
    '1e999',
  ]);
  cfg.COMPUTED_X = 'y';
  const back = getCfg().mergeFromFile(writeDump(folderWith(t, {}), cfg));
  sameTree(cfg, back);
});
