import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { writeTinySet } from '../engine/tiny.js';
import { repoRoot } from '../support/paths.js';
import { runNode } from './support.js';

const page = readFileSync(join(repoRoot, 'docs/hooks.md'), 'utf8');

/** Lines without what they are indented by, so that code may stand in a block. */
const plain = (text: string): string =>
  text
    .split('\n')
    .map((line) => line.trim())
    .join('\n')
    .trim();

test('the code of docs/hooks.md is that of examples/hooks.ts', () => {
  const example = plain(readFileSync(join(repoRoot, 'examples/hooks.ts'), 'utf8'));
  const blocks = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => plain(code!));
  assert.ok(blocks.length >= 7);
  for (const block of blocks) assert.ok(example.includes(block), `not in examples/hooks.ts:\n${block}`);
});

test('its keys and pictures exist', () => {
  const cfg = getCfg();
  const keys = new Set(page.match(/HOOKS(\.[A-Z_]+)+/g));
  assert.ok(keys.size >= 5);
  for (const key of keys) assert.ok(cfg.has(key), key);
  const pictures = [...page.matchAll(/!\[[^\]]*\]\(([^)]+)\)/g)].map(([, path]) => path!);
  for (const path of pictures) assert.ok(existsSync(join(repoRoot, 'docs', path)), path);
});

test('examples/hooks.ts runs', async () => {
  const root = mkdtempSync(join(tmpdir(), 'reid-page-'));
  try {
    await writeTinySet(root);
    const out = join(root, 'logs');
    const overrides = [
      ...['MODEL.DEVICE', 'cpu', 'INPUT.SIZE_TRAIN', '[32, 32]', 'INPUT.SIZE_TEST', '[32, 32]'],
      ...[
        'SOLVER.IMS_PER_BATCH',
        '4',
        'DATALOADER.NUM_INSTANCE',
        '2',
        'SOLVER.MAX_EPOCH',
        '1',
        'OUTPUT_DIR',
        out,
      ],
    ];
    const run = await runNode('dist/examples/hooks.js', overrides, { FASTREID_DATASETS: root });
    assert.equal(run.code, 0, run.stdout + run.stderr);
    assert.match(run.stdout, /^backbone\.layer4\/output\/channelMean \[ 512 \]$/m);
    assert.match(run.stdout, /Profile of iteration 2:/);
    const lines = readFileSync(join(out, 'metrics.json'), 'utf8');
    for (const name of [
      'weights/first',
      'capture/backbone.conv1/gradOutput/norm',
      'health/dead/backbone.bn1',
    ]) {
      assert.ok(lines.includes(`"${name}"`), name);
    }
    const files = readdirSync(out);
    for (const file of ['captured.safetensors', 'trace.json', 'profile'])
      assert.ok(files.includes(file), file);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
