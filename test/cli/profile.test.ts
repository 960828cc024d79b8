import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { repoRoot } from '../support/paths.js';
import { reidNative } from './support.js';

const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');
const small = [
  ...['MODEL.DEVICE', 'cpu', 'INPUT.SIZE_TRAIN', '[32, 32]', 'INPUT.SIZE_TEST', '[32, 32]'],
  ...['SOLVER.IMS_PER_BATCH', '4', 'TEST.IMS_PER_BATCH', '2', 'MODEL.HEADS.NUM_CLASSES', '8'],
];

test('reid-native profile: parts, modules and operators of a training step, and a trace', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-profile-'));
  try {
    const out = join(folder, 'out');
    const args = [
      'profile',
      '--config-file',
      demo,
      '--synthetic',
      '--warm-up',
      '1',
      '--rows',
      '40',
      '--out',
      out,
    ];
    const { code, stdout, stderr } = await reidNative([
      ...args,
      ...small,
      'OUTPUT_DIR',
      join(folder, 'logs'),
    ]);
    assert.equal(code, 0, stderr);
    for (const part of ['data', 'forward', 'backward', 'step']) {
      assert.match(stdout, new RegExp(`^${part} +[\\d.]+ ms +[\\d.]+ %$`, 'm'));
    }
    assert.match(stdout, /^backbone\.layer4\.1\.conv2 +[\d.]+ ms/m);
    assert.match(stdout, /^aten::convolution_backward +[\d.]+ ms/m);
    assert.deepEqual(readdirSync(folder), ['out'], 'OUTPUT_DIR is left alone');
    const trace = readFileSync(join(out, 'profiler-trace-iter1.json'), 'utf8');
    assert.match(trace, /"module backbone\.layer1\.0\.conv1"/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('reid-native profile --inference', async () => {
  const { code, stdout, stderr } = await reidNative([
    ...['profile', '--config-file', demo, '--inference', '--warm-up', '0', '--rows', '3', ...small],
  ]);
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stdout, /convolution_backward|^data /m);
  assert.match(stdout, /^operator +self +share +total +calls +self memory$/m);
});
