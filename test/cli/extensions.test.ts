import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTinySet } from '../engine/tiny.js';
import { repoRoot } from '../support/paths.js';
import { reidNative } from './support.js';

const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');
const example = join(repoRoot, 'dist/examples/own_images.js');

test('--import registers a dataset of the user’s own, which the configuration then names', async () => {
  const root = mkdtempSync(join(tmpdir(), 'reid-own-'));
  try {
    await writeTinySet(root);
    renameSync(join(root, 'emoji-reid'), join(root, 'my-shop'));
    const overrides = [
      ...['DATASETS.NAMES', '("MyShop",)', 'DATASETS.TESTS', '("MyShop",)', 'MODEL.DEVICE', 'cpu'],
      ...['INPUT.SIZE_TRAIN', '[32, 32]', 'INPUT.SIZE_TEST', '[32, 32]', 'SOLVER.IMS_PER_BATCH', '8'],
      ...['DATALOADER.NUM_INSTANCE', '2', 'SOLVER.MAX_EPOCH', '1', 'OUTPUT_DIR', join(root, 'logs')],
    ];
    const args = ['train', '--import', example, '--config-file', demo, ...overrides];
    const { code, stdout, stderr } = await reidNative(args, { FASTREID_DATASETS: root });
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /MyShop/);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test('a module that cannot be imported is named', async () => {
  const { code, stderr } = await reidNative(['train', '--import', 'no/such.js', '--config-file', demo], {});
  assert.equal(code, 1);
  assert.match(stderr, /--import no\/such\.js/);
});
