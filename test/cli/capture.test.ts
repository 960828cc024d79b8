import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import * as torch from '../../src/torch/index.js';
import { repoRoot } from '../support/paths.js';
import { reidNative } from './support.js';

const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');
const small = ['MODEL.HEADS.NUM_CLASSES', '4', 'INPUT.SIZE_TEST', '[32, 32]', 'MODEL.DEVICE', 'cpu'];

test('reid-native capture: values of chosen layers and their gradients, batch by batch', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-capture-'));
  try {
    const images = join(folder, 'images');
    mkdirSync(join(images, 'more'), { recursive: true });
    for (const [i, name] of ['a.png', 'b.jpg', 'more/c.png'].entries()) {
      const background = { r: 80 * i, g: 255 - 80 * i, b: 40 };
      await sharp({ create: { width: 20, height: 30, channels: 3, background } }).toFile(join(images, name));
    }
    const out = join(folder, 'out');
    const args = [
      ...['capture', '--config-file', demo, '--images', images, '--out', out, '--batch-size', '2'],
      ...['--layers', 'backbone.layer4,backbone.layer3.*', '--what', 'output,grad,grad-parameters'],
      ...['--reduce', 'full,mean', '--to', 'safetensors,tensorboard'],
    ];
    const { code, stdout, stderr } = await reidNative([...args, ...small]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^backbone\.layer4\/output\/full +\[2, 512, 1, 1\]$/m);
    assert.match(stdout, /^3 images; written to /m);
    const files = readdirSync(out).sort();
    assert.deepEqual(files.slice(0, 2), ['batch_0000.safetensors', 'batch_0001.safetensors']);
    assert.match(files[2]!, /^events\.out\.tfevents/);
    const [first, second] = files.slice(0, 2).map((name) => torch.loadSafetensors(join(out, name)));
    assert.deepEqual(
      JSON.parse(first!.metadata.get('paths')!),
      ['a.png', 'b.jpg'].map((name) => join(images, name)),
    );
    assert.deepEqual(JSON.parse(second!.metadata.get('paths')!), [join(images, 'more/c.png')]);
    const gradient = first!.get('backbone.layer4/gradOutput/full')!;
    assert.deepEqual(gradient.shape, [2, 512, 1, 1]);
    assert.ok(Number(gradient.abs().sum().item()) > 0);
    assert.deepEqual(first!.get('backbone.layer3.1/output/full')!.shape, [2, 256, 2, 2]);
    assert.ok(first!.has('backbone.layer4/gradParameters.0.conv1.weight/full'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a layer that the model does not call is named', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-capture-'));
  try {
    const image = join(folder, 'a.png');
    const background = { r: 80, g: 20, b: 40 };
    await sharp({ create: { width: 20, height: 30, channels: 3, background } }).toFile(image);
    const vit = ['MODEL.BACKBONE.NAME', 'build_vit_backbone', 'MODEL.BACKBONE.DEPTH', 'small'];
    const settings = [
      ...small,
      ...vit,
      'MODEL.BACKBONE.FEAT_DIM',
      '768',
      'MODEL.HEADS.POOL_LAYER',
      'Identity',
    ];
    const run = (layers: string) =>
      reidNative([
        ...['capture', '--config-file', demo, '--images', image, '--out', join(folder, 'out')],
        ...['--layers', layers, '--reduce', 'mean', ...settings],
      ]);
    const alone = await run('backbone.blocks');
    assert.match(alone.stderr, /nothing was seen of backbone\.blocks: the model does not call it/);
    assert.equal(alone.code, 1);
    const beside = await run('backbone.*');
    assert.equal(beside.code, 0, beside.stderr);
    assert.match(beside.stdout + beside.stderr, /nothing was seen of backbone\.blocks: /);
    assert.match(beside.stdout, /^backbone\.patch_embed\/output\/mean /m);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

const wrong: [args: string[], code: number, message: RegExp][] = [
  [['--layers', 'backbone', '--what', 'gradient'], 2, /'gradient' is none of: input, output, grad,/],
  [['--layers', 'backbone', '--reduce', 'max'], 2, /'max' is none of: full, mean/],
  [['--layers', 'backbone', '--images', '/nowhere'], 1, /\/nowhere does not exist/],
  [
    ['--layers', 'backbone', '--images', join(repoRoot, 'configs')],
    1,
    /there are no pictures in this folder/,
  ],
  [['--layers', 'backbone.layer9'], 1, /'backbone' \(ResNet\) has no sub-module 'layer9'/],
];

for (const [args, exit, message] of wrong) {
  test(`reid-native capture ${args.join(' ').replace(repoRoot, '')}: exit code ${exit}`, async () => {
    const rest = args.includes('--images') ? [] : ['--images', join(repoRoot, 'package.json')];
    const always = ['capture', '--config-file', demo, '--out', join(tmpdir(), 'never-made')];
    const { code, stderr } = await reidNative([...always, ...args, ...rest, ...small]);
    assert.match(stderr, message);
    assert.equal(code, exit);
  });
}
