import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { writeTinySet } from '../engine/tiny.js';
import { repoRoot } from '../support/paths.js';
import { reidNative, runNode } from './support.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-cli-'));
const output = join(folder, 'logs');
const env = { FASTREID_DATASETS: join(folder, 'data') };
const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');
const overrides = (outputDir: string): string[] => [
  ...[
    'MODEL.DEVICE',
    'cpu',
    'INPUT.SIZE_TRAIN',
    '[32, 32]',
    'INPUT.SIZE_TEST',
    '[32, 32]',
    'SOLVER.OPT',
    'SGD',
  ],
  ...[
    'SOLVER.IMS_PER_BATCH',
    '8',
    'DATALOADER.NUM_INSTANCE',
    '2',
    'SOLVER.MAX_EPOCH',
    '1',
    'SOLVER.MOMENTUM',
    '0.0',
  ],
  ...['SOLVER.CHECKPOINT_PERIOD', '0', 'OUTPUT_DIR', outputDir],
];
const images = [1, 2, 3].map((id) => join(folder, `data/emoji-reid/query/000${id}_c1s1_000001_01.jpg`));

before(async () => {
  await writeTinySet(join(folder, 'data'));
  const { code, stdout, stderr } = await reidNative(
    ['train', '--config-file', demo, ...overrides(output)],
    env,
  );
  assert.equal(code, 0, stdout + stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('train leaves checkpoints, configuration, log and metrics', () => {
  for (const name of [
    'model_final.pth',
    'model_best.pth',
    'last_checkpoint',
    'config.yaml',
    'log.txt',
    'metrics.json',
  ]) {
    assert.ok(existsSync(join(output, name)), name);
  }
  assert.equal(readFileSync(join(output, 'last_checkpoint'), 'utf8'), 'model_final.pth');
  const log = readFileSync(join(output, 'log.txt'), 'utf8');
  assert.match(log, /\| Dataset +\| Rank-1 \| Rank-5 \| Rank-10 \| mAP +\| mINP +\| metric \|\n\|:-/);
  assert.match(log, /libtorch/);
  const last = readFileSync(join(output, 'metrics.json'), 'utf8').trim().split('\n').at(-1) as string;
  const metrics = JSON.parse(last) as Record<string, number>;
  for (const key of [
    'iteration',
    'total_loss',
    'loss_cls',
    'loss_triplet',
    'lr',
    'mAP',
    'Rank-1',
    'metric',
  ]) {
    assert.equal(typeof metrics[key], 'number', key);
  }
});

test('--eval-only prints the table of the trained weights', async () => {
  const weights = ['MODEL.WEIGHTS', join(output, 'model_final.pth')];
  const { code, stdout, stderr } = await reidNative(
    [
      'train',
      '--config-file',
      join(output, 'config.yaml'),
      '--eval-only',
      ...weights,
      'OUTPUT_DIR',
      join(folder, 'eval'),
    ],
    env,
  );
  assert.equal(code, 0, stdout + stderr);
  const row = (text: string): string =>
    text.split('\n').findLast((line) => line.startsWith('| EmojiReID')) as string;
  assert.equal(row(stdout), row(readFileSync(join(output, 'log.txt'), 'utf8')));
});

test('embed writes features and paths', async () => {
  const out = join(folder, 'features.safetensors');
  const config = ['--config-file', join(output, 'config.yaml'), '--weights', join(output, 'model_final.pth')];
  const { code, stdout, stderr } = await reidNative([
    'embed',
    ...images,
    ...config,
    '--out',
    out,
    '--batch-size',
    '2',
  ]);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /3 features of 512 numbers written to/);
  const features = torch.loadSafetensors(out).get('features') as torch.Tensor;
  assert.deepEqual(features.shape, [3, 512]);
  assert.equal(features.dtype.name, 'float32');
  assert.ok(features.isfinite().all().item());
  const file = readFileSync(out);
  const header = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString()) as {
    __metadata__: { paths: string };
  };
  assert.deepEqual(JSON.parse(header.__metadata__.paths), images);
});

test('embed names an image that is not there, with exit code 1', async () => {
  const config = ['--config-file', join(output, 'config.yaml'), '--weights', join(output, 'model_final.pth')];
  const { code, stderr } = await reidNative([
    'embed',
    'gone.jpg',
    ...config,
    '--out',
    join(folder, 'x.safetensors'),
  ]);
  assert.equal(code, 1);
  assert.equal(stderr, 'error: gone.jpg does not exist\n');
});

test('a missing data set says where it is looked for', async () => {
  const args = ['train', '--config-file', demo, ...overrides(join(folder, 'none'))];
  const { code, stderr } = await reidNative(args, { FASTREID_DATASETS: join(folder, 'elsewhere') });
  assert.equal(code, 1);
  assert.match(stderr, /error: EmojiReID: .*elsewhere.* does not exist/);
});

test('the example of a plain training loop runs, and its weights load', async () => {
  const outputDir = join(folder, 'plain');
  const example = await runNode(
    'dist/examples/plain_training_loop.js',
    ['--config-file', demo, ...overrides(outputDir)],
    env,
  );
  assert.equal(example.code, 0, example.stdout + example.stderr);
  assert.match(example.stdout, /epoch 0: mean loss \d/);
  assert.match(example.stdout, /\| EmojiReID \|/);
  assert.ok(existsSync(join(outputDir, 'model_final.pth')));
});

test('the search example finds the image itself first', async () => {
  const gallery = join(folder, 'data/emoji-reid/query');
  const { code, stdout, stderr } = await runNode('dist/examples/embed_and_search.js', [
    ...['--config-file', join(output, 'config.yaml'), '--weights', join(output, 'model_final.pth')],
    ...['--gallery', gallery, '--top', '2', images[1]],
  ]);
  assert.equal(code, 0, stdout + stderr);
  const lines = stdout.split('\n');
  const at = lines.indexOf(images[1]);
  assert.equal(lines[at + 1], `  1.0000  ${images[1]}`);
  assert.match(lines[at + 2], /^ {2}\S+ {2}.*query/);
});
