import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { writeTinySet } from './tiny.js';

/**
 * A folder for a file of tests, gone after them. Before them the tiny set is written to its `data`, to which
 * FASTREID_DATASETS points.
 */
export function tinyFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `reid-${name}-`));
  before(async () => {
    await writeTinySet(join(folder, 'data'));
    process.env.FASTREID_DATASETS = join(folder, 'data');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
