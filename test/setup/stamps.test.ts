import assert from 'node:assert/strict';
import { rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { importScript, temporaryFolder } from '../support/scripts.js';

interface Lock {
  packages: Record<string, { version?: string; optional?: boolean; link?: boolean }>;
}

interface StampsModule {
  filesUnder(folder: string, accept?: (name: string) => boolean): string[];
  contentHash(root: string, files: string[], facts?: unknown): string;
  packagesStale(lock: Lock, installed: Lock | null): string | null;
}

interface TypescriptModule {
  orphans(compiled: string[], hasSource: (source: string) => boolean): string[];
}

interface LockModule {
  withLock<T>(folder: string, work: () => Promise<T>, onWait?: (pid: number) => void): Promise<T>;
}

const stamps = await importScript<StampsModule>('lib/stamps.mjs');
const { orphans } = await importScript<TypescriptModule>('lib/typescript.mjs');
const { withLock } = await importScript<LockModule>('lib/lock.mjs');

test('a hash follows contents, names and facts, and nothing else', (t) => {
  const sources = { 'native/a.cc': 'int a;', 'native/sub/b.h': 'int b;', 'native/notes.txt': 'x' };
  const folder = temporaryFolder(t, sources);
  const files = (): string[] => stamps.filesUnder(join(folder, 'native'), (name) => /\.(cc|h)$/.test(name));
  const hash = (facts: unknown = { v: 1 }): string => stamps.contentHash(folder, files(), facts);
  assert.deepEqual(
    files().map((file) => relative(folder, file)),
    ['native/a.cc', 'native/sub/b.h'],
  );
  const first = hash();

  utimesSync(join(folder, 'native/a.cc'), 1, 1);
  writeFileSync(join(folder, 'native/notes.txt'), 'changed');
  assert.equal(hash(), first, 'times and other files do not matter');
  const moved = temporaryFolder(t, sources);
  const elsewhere = stamps.filesUnder(join(moved, 'native'), (name) => /\.(cc|h)$/.test(name));
  assert.equal(stamps.contentHash(moved, elsewhere, { v: 1 }), first, 'nor does where the folder is');

  assert.notEqual(hash({ v: 2 }), first);
  writeFileSync(join(folder, 'native/a.cc'), 'int c;');
  assert.notEqual(hash(), first);
  writeFileSync(join(folder, 'native/a.cc'), 'int a;');
  rmSync(join(folder, 'native/sub/b.h'));
  writeFileSync(join(folder, 'native/sub/c.h'), 'int b;');
  assert.notEqual(hash(), first, 'a renamed file counts');
});

test('packages are stale when one is missing or of another version, optional ones apart', () => {
  const lock: Lock = {
    packages: {
      '': { version: '0.1.0' },
      'node_modules/a': { version: '1.0.0' },
      'node_modules/a/node_modules/b': { version: '2.0.0' },
      'node_modules/other-platform': { version: '1.0.0', optional: true },
      'node_modules/linked': { link: true },
    },
  };
  const installed = (a: string, b?: string): Lock => ({
    packages: {
      'node_modules/a': { version: a },
      ...(b ? { 'node_modules/a/node_modules/b': { version: b } } : {}),
      'node_modules/extra': { version: '9.0.0' },
    },
  });
  assert.equal(stamps.packagesStale(lock, installed('1.0.0', '2.0.0')), null);
  assert.match(stamps.packagesStale(lock, null) ?? '', /not installed/);
  assert.match(stamps.packagesStale(lock, installed('1.0.0')) ?? '', /^b is missing/);
  assert.match(
    stamps.packagesStale(lock, installed('1.0.1', '2.0.0')) ?? '',
    /^a is 1\.0\.1, .* has 1\.0\.0/,
  );
});

test('compiled files whose source is gone are found', () => {
  const compiled = [
    'src/a.js',
    'src/a.d.ts',
    'src/a.js.map',
    'test/old.test.js',
    'test/old.test.js.map',
    '.stamp',
  ];
  const gone = orphans(compiled, (source) => source === 'src/a.ts');
  assert.deepEqual(gone, ['test/old.test.js', 'test/old.test.js.map']);
});

test('one set-up at a time, and a dead one does not block', async (t) => {
  // No process has this number: it is beyond what any system hands out.
  const folder = temporaryFolder(t, { '.setup-lock': '999999999' });
  const events: string[] = [];
  const job = (name: string) =>
    withLock(folder, async () => {
      events.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      events.push(`${name} ends`);
      return name;
    });
  assert.deepEqual(await Promise.all([job('a'), job('b')]), ['a', 'b']);
  assert.deepEqual(events, ['a begins', 'a ends', 'b begins', 'b ends']);
  await assert.rejects(
    withLock(folder, async () => {
      throw new Error('failed');
    }),
    /failed/,
  );
  assert.equal(await job('c'), 'c');
});
