import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importScript } from '../support/scripts.js';

interface VersionModule {
  PIN: string;
  pipRange: string;
  parseVersion(text: string): { major: number; minor: number; patch: number; local: string | null } | null;
  inRange(text: string): boolean;
  headerVersion(header: string): string | null;
  pythonVersionFile(source: string): { version: string | null; cuda: string | null };
}

const version = await importScript<VersionModule>('lib/version.mjs');

test('versions are read with and without local part', () => {
  const parts = (text: string) => {
    const { major, minor, patch, local } = version.parseVersion(text) ?? assert.fail(`${text} was not read`);
    return [major, minor, patch, local];
  };
  assert.deepEqual(parts('2.13.0+cpu'), [2, 13, 0, 'cpu']);
  assert.deepEqual(parts('2.14.1'), [2, 14, 1, null]);
  assert.deepEqual(parts('2.12.0a0+git1234'), [2, 12, 0, 'git1234']);
  assert.deepEqual(parts('2.11'), [2, 11, 0, null]);
  assert.equal(version.parseVersion('main'), null);
});

test('2.11 to 2.14 are accepted, with every patch', () => {
  for (const text of ['2.11.0', '2.12.1', version.PIN, '2.13.0+cpu', '2.14.1+cu130', '2.14.9']) {
    assert.ok(version.inRange(text), text);
  }
  for (const text of ['2.10.9', '2.15.0', '1.13.0', '3.12.0', '', 'unknown']) {
    assert.ok(!version.inRange(text), text);
  }
  assert.equal(version.pipRange, 'torch>=2.11,<2.15');
});

test('the header says the version', () => {
  const header =
    '#pragma once\n#define TORCH_VERSION_MAJOR 2\n\n#define TORCH_VERSION_MINOR 13\n#define TORCH_VERSION_PATCH 1\n';
  assert.equal(version.headerVersion(header), '2.13.1');
  assert.equal(version.headerVersion('#define TORCH_VERSION_MAJOR 2\n'), null);
});

test("Python's version file says version and CUDA, annotated or not", () => {
  const cpu = "__version__ = '2.13.0+cpu'\ndebug = False\ncuda: Optional[str] = None\n";
  const cuda = "__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n";
  assert.deepEqual(version.pythonVersionFile(cpu), { version: '2.13.0+cpu', cuda: null });
  assert.deepEqual(version.pythonVersionFile(cuda), { version: '2.14.1+cu130', cuda: '13.0' });
  assert.deepEqual(version.pythonVersionFile("cuda = '12.6'"), { version: null, cuda: '12.6' });
});
