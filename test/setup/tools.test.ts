import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { importScript, temporaryFolder } from '../support/scripts.js';

interface Probe {
  ok: boolean;
  text: string;
  missing: boolean;
}

type FormattedError = Error & { format(): string };

interface ToolsModule {
  installCommand(what: string, manager: string, root: boolean): string;
  packageManager(has: (name: string) => boolean): string;
  findCompiler(env: NodeJS.ProcessEnv): { name: string; version: string };
  findCmake(run: (command: string, args: string[]) => Probe): { version: string };
  findBuildTool(run: (command: string, args: string[]) => Probe): string;
  checkDisk(
    folder: string,
    bytes: number,
    what: string,
    fix: string,
    statfs: (path: string) => { bavail: number; bsize: number },
  ): void;
}

const tools = await importScript<ToolsModule>('lib/tools.mjs');
const { joinErrors } = await importScript<{ joinErrors(errors: unknown[]): FormattedError }>('lib/ui.mjs');

function failure(work: () => unknown): FormattedError {
  try {
    work();
  } catch (error) {
    return error as FormattedError;
  }
  return assert.fail('it did not throw');
}

test('the command that installs something fits the machine', () => {
  assert.equal(tools.installCommand('compiler', 'apt-get', false), 'sudo apt-get install -y g++');
  assert.equal(tools.installCommand('compiler', 'apt-get', true), 'apt-get install -y g++');
  assert.equal(tools.installCommand('cmake', 'dnf', false), 'sudo dnf install -y cmake');
  assert.equal(tools.installCommand('jpeg', 'brew', false), 'brew install jpeg-turbo');
  assert.equal(
    tools.packageManager((name) => name === 'pacman'),
    'pacman',
  );
  assert.equal(
    tools.packageManager(() => false),
    'apt-get',
  );
});

test('without a compiler the error says what was tried and the command that mends it', (t) => {
  const empty = temporaryFolder(t);
  const error = failure(() => tools.findCompiler({ PATH: empty }));
  const text = error.format();
  assert.match(text, /^error: no C\+\+20 compiler/);
  for (const name of ['c++', 'g++', 'clang++']) assert.ok(text.includes(`${name}: not found`), text);
  assert.match(text, /install -?\S* ?(g\+\+|gcc)/);
});

test('a compiler too old for C++20 is not taken', (t) => {
  const script = '#!/bin/sh\n[ "$1" = --version ] && { echo "old 4.8"; exit 0; }\nexit 1\n';
  const folder = temporaryFolder(t, { 'old-cxx': script });
  chmodSync(join(folder, 'old-cxx'), 0o755);
  const error = failure(() => tools.findCompiler({ ...process.env, CXX: join(folder, 'old-cxx') }));
  assert.match(error.format(), /old-cxx: old 4\.8: does not compile C\+\+20/);
});

test('CXX names the compiler, with flags', () => {
  const { name } = tools.findCompiler({ ...process.env, CXX: 'c++ -Wall' });
  assert.equal(name, 'c++ -Wall');
});

test('cmake is found by its version, and its absence or age named', () => {
  const says = (text: string) => () => ({ ok: true, text, missing: false });
  assert.deepEqual(tools.findCmake(says('cmake version 3.25.1\n\nmore')), { version: '3.25.1' });
  assert.deepEqual(tools.findCmake(says('cmake version 4.0.2')), { version: '4.0.2' });
  const old = failure(() => tools.findCmake(says('cmake version 3.10.2'))).format();
  assert.match(old, /no cmake 3\.18 or newer/);
  assert.match(old, /cmake: cmake version 3\.10\.2/);
  const none = failure(() => tools.findCmake(() => ({ ok: false, text: '', missing: true }))).format();
  assert.match(none, /cmake: not found/);
  assert.match(none, /install \S* ?cmake/);
});

test('ninja is preferred to make', () => {
  const has = (...names: string[]) => {
    return (command: string) => ({
      ok: names.includes(command),
      text: '',
      missing: !names.includes(command),
    });
  };
  assert.equal(tools.findBuildTool(has('ninja', 'make')), 'ninja');
  assert.equal(tools.findBuildTool(has('make')), 'make');
  assert.match(failure(() => tools.findBuildTool(has())).format(), /install \S* ?make$/);
});

test('disk space is looked at where the folder will be', (t) => {
  const folder = temporaryFolder(t);
  const asked: string[] = [];
  const statfs = (path: string) => {
    asked.push(path);
    return { bavail: 1024, bsize: 2 ** 20 };
  };
  const check = (bytes: number) =>
    tools.checkDisk(join(folder, 'not/yet'), bytes, 'libtorch', 'free some', statfs);
  check(2 ** 30);
  assert.deepEqual(asked, [folder]);
  const text = failure(() => check(2 ** 31)).format();
  assert.match(text, /not enough disk space for libtorch: 2\.0 GiB needed/);
  assert.match(text, /1\.0 GiB free at/);
  assert.match(text, /free some/);
});

test('several things that are missing come in one error', (t) => {
  const empty = temporaryFolder(t);
  const compiler = failure(() => tools.findCompiler({ PATH: empty }));
  const cmake = failure(() => tools.findCmake(() => ({ ok: false, text: '', missing: true })));
  const text = joinErrors([compiler, cmake]).format();
  assert.match(text, /2 things are missing/);
  assert.match(text, /no C\+\+20 compiler/);
  assert.match(text, /no cmake/);
  assert.equal(joinErrors([cmake]), cmake);
});
