import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Check, formatChecks } from '../../src/cli/doctor.js';
import { repoRoot } from '../support/paths.js';
import { temporaryFolder } from '../support/scripts.js';

function launch(root: string, ...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const command = [join(root, 'bin/reid-native.js'), ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8', cwd: root });
  return { code: status, stdout, stderr };
}

test('--help lists the commands', () => {
  const { code, stdout } = launch(repoRoot, '--help');
  assert.equal(code, 0);
  for (const command of ['train', 'embed', 'config', 'prepare', 'doctor'])
    assert.match(stdout, new RegExp(command));
});

test('without dist/ the launcher says how to build', (t) => {
  const folder = temporaryFolder(t, { 'package.json': '{"type": "module"}' });
  cpSync(join(repoRoot, 'bin'), join(folder, 'bin'), { recursive: true });
  const { code, stderr } = launch(folder, '--help');
  assert.equal(code, 1);
  assert.match(stderr, /dist\/ is missing[\s\S]*npm run setup/);
});

test('the doctor finds everything in order here', () => {
  const { code, stdout } = launch(repoRoot, 'doctor');
  assert.match(stdout, /ok +libtorch +2\.1\d\.\d\S* \((CPU|CUDA)/);
  assert.match(stdout, /ok +addon +loads, with libtorch 2\.1\d/);
  assert.match(stdout, /ok +operators/);
  assert.match(stdout, /Everything loads\./);
  assert.equal(code, 0);
});

test('the doctor explains a missing addon, one that does not load, and a libtorch that is gone', (t) => {
  const copy = (files: Record<string, string>): string => {
    const folder = temporaryFolder(t, { ...files });
    for (const part of ['bin', 'package.json', 'dist/src']) {
      cpSync(join(repoRoot, part), join(folder, part), { recursive: true });
    }
    mkdirSync(join(folder, 'build'), { recursive: true });
    symlinkSync(join(repoRoot, 'node_modules'), join(folder, 'node_modules'));
    return folder;
  };
  const missing = launch(copy({}), 'doctor');
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /FAIL +libtorch +none chosen yet/);
  assert.match(missing.stdout, /FAIL +addon[\s\S]*mend it with: npm run setup/);

  const record = JSON.stringify({ root: '/gone/torch', version: '2.13.0+cpu', variant: 'cpu', cuda: null });
  const broken = launch(
    copy({ 'build/Release/reid_native.node': 'no library', 'build/libtorch.json': record }),
    'doctor',
  );
  assert.equal(broken.code, 1);
  assert.match(broken.stdout, /FAIL +libtorch +2\.13\.0\+cpu was at \/gone\/torch, which is gone/);
  assert.match(broken.stdout, /FAIL +addon[\s\S]*does not load/);
  assert.match(broken.stdout, /2 of 3 checks failed/);
});

test('the report marks failures and says what mends them', () => {
  const checks: Check[] = [
    { name: 'Node', ok: true, text: 'v20' },
    { name: 'libtorch', ok: false, text: 'first\nsecond', fix: 'npm run setup' },
  ];
  const expected = [
    'ok    Node      v20',
    'FAIL  libtorch  first',
    '                second',
    '                mend it with: npm run setup',
    '',
    '1 of 2 checks failed.',
    '',
  ].join('\n');
  assert.equal(formatChecks(checks), expected);
});

test('set-up and demo explain themselves and refuse unknown options', () => {
  for (const script of ['setup', 'demo']) {
    const run = (arg: string) =>
      spawnSync(process.execPath, [join(repoRoot, `scripts/${script}.mjs`), arg], { encoding: 'utf8' });
    const help = run('--help');
    assert.equal(help.status, 0);
    assert.match(help.stdout, /^Usage: npm run /);
    const wrong = run('--wrong');
    assert.equal(wrong.status, 1);
    assert.match(wrong.stderr, /unknown option --wrong/);
  }
});
