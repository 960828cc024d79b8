import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { repoRoot } from '../support/paths.js';
import { importScript } from '../support/scripts.js';

interface Pack {
  runtimePackages(lock: unknown, installed?: (path: string) => boolean): string[];
}

test('what is packed for a machine without network is what runs and builds, not what develops', async () => {
  const { runtimePackages } = await importScript<Pack>('pack.mjs');
  const lock = JSON.parse(readFileSync(join(repoRoot, 'package-lock.json'), 'utf8')) as unknown;
  const packages = runtimePackages(lock);
  for (const name of ['cmake-js', 'node-addon-api', 'node-api-headers', 'sharp', 'commander']) {
    assert.ok(packages.includes(`node_modules/${name}`), name);
  }
  for (const name of ['typescript', '@biomejs/biome', 'fast-check', 'clang-format']) {
    assert.ok(!packages.includes(`node_modules/${name}`), name);
  }
  const small = {
    packages: {
      '': {},
      'node_modules/a': {},
      'node_modules/a/node_modules/b': {},
      'node_modules/dev': { dev: true },
      'node_modules/other-system': { optional: true },
    },
  };
  const here = (path: string): boolean => !path.includes('other');
  assert.deepEqual(runtimePackages(small, here), ['node_modules/a']);
});
