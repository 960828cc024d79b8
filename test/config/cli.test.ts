import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { getCfg } from '../../src/config/index.js';
import { folderWith } from './files.js';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const script = `import { main } from ${JSON.stringify(main)}; process.exitCode = await main(process.argv.slice(1));`;

function config(...args: string[]) {
  return spawnSync(process.execPath, ['--input-type=module', '-e', script, '--', 'config', ...args], {
    encoding: 'utf8',
  });
}

test('prints the merged configuration, which loads again', (t) => {
  const folder = folderWith(t, { 'own.yml': 'MODEL: {DEVICE: cpu}\nSOLVER: {BASE_LR: 3e-5}\n' });
  const { stdout, stderr, status } = config(
    '--config-file',
    join(folder, 'own.yml'),
    'SOLVER.MAX_EPOCH',
    '5',
  );
  assert.deepEqual([status, stderr], [0, '']);
  const out = join(folder, 'out.yml');
  writeFileSync(out, stdout);
  const cfg = getCfg().mergeFromFile(out);
  assert.deepEqual([cfg.MODEL.DEVICE, cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH], ['cpu', 3e-5, 5]);
});

test('--diff prints the difference; what train refuses is noted beside it', () => {
  const { stdout, stderr, status } = config('--diff', 'SOLVER.OPT', 'LBFGS');
  assert.equal(stdout, 'SOLVER:\n  OPT: LBFGS\n');
  assert.match(stderr, /train refuses this: SOLVER\.OPT/);
  assert.equal(status, 0);
});

test('--schedule prints the learning rate by epoch', () => {
  const overrides = [
    'SOLVER.MAX_EPOCH',
    '4',
    'SOLVER.BASE_LR',
    '0.1',
    'SOLVER.WARMUP_ITERS',
    '0',
    'SOLVER.STEPS',
    '[2]',
  ];
  const { stdout, status } = config('--schedule', '--iters-per-epoch', '10', ...overrides);
  assert.equal(status, 0);
  const rows = stdout.split('\n').filter((line) => /^ +\d/.test(line));
  assert.deepEqual(
    rows.map((line) => line.trim().split(/\s+/).map(Number)),
    [
      [0, 0.1, 0.1],
      [1, 0.1, 0.1],
      [2, 0.01, 0.01],
      [3, 0.01, 0.01],
    ],
  );
});

test('without the data set, --schedule says what to give', () => {
  const { stderr, status } = config('--schedule', 'DATASETS.NAMES', '("NoSuchSet",)');
  assert.match(stderr, /--iters-per-epoch N/);
  assert.equal(status, 1);
});

test('a wrong key ends with exit code 2 and the nearest key', () => {
  const { stderr, status } = config('SOLVER.BASE_LRR', '1');
  assert.match(stderr, /SOLVER\.BASE_LRR \(from the command line\); did you mean SOLVER\.BASE_LR\?/);
  assert.equal(status, 2);
});
