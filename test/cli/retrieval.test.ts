import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Checkpointer } from '../../src/engine/index.js';
import { buildModel } from '../../src/modeling/index.js';
import { loadFeatures } from '../../src/retrieval/index.js';
import { tinyConfig, writeTinySet } from '../engine/tiny.js';
import { repoRoot } from '../support/paths.js';
import { type Run, reidNative } from './support.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-retrieval-cli-'));
const data = join(folder, 'data');
const at = (name: string): string => join(folder, name);
const image = (id: number): string => join(data, `emoji-reid/query/000${id}_c1s1_000001_01.jpg`);
const model = [
  ...['--config-file', at('config.yaml'), '--weights', at('weights.pth')],
  ...['--import', join(repoRoot, 'dist/test/engine/tiny.js')],
];

/** Runs a command that is expected to succeed. */
async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...args);
  assert.equal(code, 0, stdout + stderr);
  return stdout;
}
const run = (...args: string[]): Promise<Run> =>
  reidNative(args, { FASTREID_DATASETS: data, OMP_NUM_THREADS: '1' });

before(async () => {
  await writeTinySet(data);
  const cfg = tinyConfig(folder);
  writeFileSync(at('config.yaml'), cfg.dump());
  await new Checkpointer(
    buildModel(cfg, () => {}),
    folder,
  ).save('weights');
  await succeed('embed', '--dataset', 'EmojiReID', ...model, '--out', at('emoji.safetensors'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('embed of a data set keeps identities, cameras and protocol', async () => {
  const { features, paths, identities, cameras, protocol } = loadFeatures(at('emoji.safetensors'));
  assert.deepEqual(features.shape, [24, 16]);
  assert.equal(paths[0], image(1));
  assert.deepEqual(identities?.slice(0, 7), [1, 2, 3, 4, 5, 6, 1]);
  assert.deepEqual(cameras?.slice(5, 8), [0, 1, 2]);
  assert.deepEqual(protocol?.trials[0].query, [0, 1, 2, 3, 4, 5]);
  assert.equal(protocol?.cameras, true);
});

test('embed of a list, to a .npy file with a .json file beside it', async () => {
  writeFileSync(at('list.txt'), [1, 2, 3].map((id) => `${image(id)}\tid${id}\tfront\n`).join(''));
  const stdout = await succeed('embed', '--list', at('list.txt'), ...model, '--out', at('list.npy'));
  assert.match(stdout, /3 features of 16 numbers written to .*list\.npy/);
  assert.ok(existsSync(at('list.json')));
  const listed = loadFeatures(at('list.npy'));
  assert.deepEqual(listed.identities, ['id1', 'id2', 'id3']);
  assert.deepEqual(listed.cameras, ['front', 'front', 'front']);
  const whole = loadFeatures(at('emoji.safetensors')).features.narrow(0, 0, 3);
  assert.ok(Number(listed.features.sub(whole).abs().max().item()) < 1e-5);
});

test('embed of a folder and of a pattern: the same images', async () => {
  const query = join(data, 'emoji-reid/query');
  await succeed('embed', query, ...model, '--out', at('folder.safetensors'));
  await succeed('embed', join(query, '*.jpg'), ...model, '--out', at('pattern.safetensors'));
  const one = loadFeatures(at('folder.safetensors'));
  const other = loadFeatures(at('pattern.safetensors'));
  assert.deepEqual(one.paths, other.paths);
  assert.deepEqual(one.paths, [1, 2, 3, 4, 5, 6].map(image));
  assert.deepEqual(one.features.toArray(), other.features.toArray());
  assert.equal(one.identities, undefined);
});
