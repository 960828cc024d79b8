import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ModelSummary } from '../../src/modeling/index.js';
import { repoRoot } from '../support/paths.js';
import { reidNative } from './support.js';

const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');

async function summary(...args: string[]): Promise<ModelSummary> {
  const { code, stdout, stderr } = await reidNative(['model', '--json', ...args]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as ModelSummary;
}

const backbone = ({ modules }: ModelSummary) => modules.find(({ path }) => path === 'backbone')!;

test('parameters and MACs of ResNet are the known ones, less the 1000-class layer', async () => {
  for (const [depth, parameters, macs] of [
    ['18x', 11_689_512 - 513_000, 1_814_073_344 - 512_000],
    ['50x', 25_557_032 - 2_049_000, 4_089_184_256 - 2_048_000],
  ] as const) {
    const overrides = ['MODEL.BACKBONE.DEPTH', depth, 'MODEL.BACKBONE.LAST_STRIDE', '2'];
    const found = backbone(await summary('--size', '224', '224', '--depth', '1', ...overrides));
    assert.equal(found.parameters, parameters);
    assert.equal(found.macs, macs);
  }
});

test('the table: modules, shapes, totals, and how many classes were assumed', async () => {
  const { code, stdout, stderr } = await reidNative(['model', demo, '--depth', '1']);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  const lines = stdout.split('\n').map((line) => line.replace(/ {2,}/g, '  ').trimEnd());
  assert.deepEqual(lines.slice(0, 1), ['module  type  output  parameters  MACs']);
  assert.deepEqual(lines.slice(2, 5), [
    '(model)  Baseline  [1, 512]  11,562,048  148.0 M',
    'backbone  ResNet  [1, 512, 2, 2]  11,176,512  148.0 M',
    'heads  EmbeddingHead  [1, 512]  385,536  –',
  ]);
  assert.match(stdout, /^parameters +11,562,048, of which 11,561,536 trainable$/m);
  assert.match(stdout, /^MACs +0\.148 G for one image of 64×64/m);
  assert.match(stdout, /^features +512 numbers an image$/m);
  assert.match(stdout, /^activations +\d+\.\d MiB an image/m);
  assert.match(stdout, /NUM_CLASSES is 0.*counted here with 751 classes/);
});

test('the file comes first, or with --config-file; options anywhere; pre-trained weights are not wanted', async () => {
  const pairs = [
    ...['MODEL.HEADS.NUM_CLASSES', '10', 'MODEL.BACKBONE.PRETRAIN', 'True'],
    ...['INPUT.SIZE_TEST', '[64, 32]', 'MODEL.BACKBONE.PRETRAIN_PATH', '/nowhere.pth'],
  ];
  const all = await Promise.all([
    summary(demo, ...pairs),
    summary('--config-file', demo, ...pairs),
    summary(...pairs, '--config-file', demo),
    summary(demo, '--size', '64x32', ...pairs.slice(0, 4)),
  ]);
  for (const one of all) assert.deepEqual(one, all[0]);
  const [first] = all;
  assert.deepEqual(first!.size, [64, 32]);
  assert.equal(first!.classes, 10);
  assert.equal(first!.classesFromData, false);
  assert.equal(first!.featureWidth, 512);
  assert.equal(first!.parameters, 11_176_512 + 1024 + 10 * 512);
  assert.equal(first!.modules.at(-1)!.path, 'heads.cls_layer');
  assert.ok(first!.modules.some(({ path }) => path === 'backbone.layer4.1.conv2'));
});

const registries: [pairs: string[], message: RegExp][] = [
  [
    ['MODEL.META_ARCHITECTURE', 'Baselin'],
    /unknown meta-architecture 'Baselin'.*'Baseline'\?.*Registered: .+/,
  ],
  [
    ['MODEL.BACKBONE.NAME', 'build_mine'],
    /unknown backbone 'build_mine'.*Registered: .*build_resnet_backbone/,
  ],
  [['MODEL.BACKBONE.NORM', 'LayerNorm'], /unknown normalisation layer 'LayerNorm'.*Registered: .*BN/],
  [['MODEL.HEADS.NAME', 'Head'], /unknown head 'Head'.*Registered: .*EmbeddingHead/],
  [['MODEL.HEADS.POOL_LAYER', 'Avg'], /unknown pooling layer 'Avg'.*Registered: .*GlobalAvgPool/],
  [['MODEL.HEADS.CLS_LAYER', 'Softmax'], /unknown classification layer 'Softmax'.*Registered: .*Linear/],
  [
    ['MODEL.HEADS.NORM', 'LayerNorm', 'MODEL.HEADS.WITH_BNNECK', 'True'],
    /unknown normalisation layer 'LayerNorm'.*Registered: .*BN/,
  ],
  [['MODEL.LOSSES.NAME', '("Triplet",)'], /unknown loss 'Triplet'.*Registered: .*TripletLoss/],
];

for (const [pairs, message] of registries) {
  test(`${pairs.join(' ')}: lists what is registered`, async () => {
    const { code, stdout, stderr } = await reidNative(['model', 'MODEL.BACKBONE.DEPTH', '18x', ...pairs]);
    assert.equal(code, 1, stdout);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack');
  });
}

test('--import brings a backbone of the user’s own', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-model-'));
  try {
    const file = join(folder, 'mine.mjs');
    const library = (name: string): string => JSON.stringify(join(repoRoot, 'dist/src', name));
    writeFileSync(
      file,
      `import { BACKBONE_REGISTRY } from ${library('index.js')};
       import * as torch from ${library('torch/index.js')};
       BACKBONE_REGISTRY.register('build_mine', () => new torch.nn.Conv2d(3, 7, 1));`,
    );
    const pairs = ['MODEL.BACKBONE.NAME', 'build_mine', 'MODEL.BACKBONE.FEAT_DIM', '7'];
    const found = await summary('--import', file, '--size', '4', '2', ...pairs);
    assert.equal(found.macs, 4 * 2 * 3 * 7);
    assert.equal(found.featureWidth, 7);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

const wrong: [args: string[], code: number, message: RegExp][] = [
  [['MODEL.BACKBONE.DEPTH'], 2, /MODEL.BACKBONE.DEPTH has no value/],
  [[demo, 'MODEL.BACKBONE.DEPHT', '50x'], 2, /did you mean MODEL.BACKBONE.DEPTH\?/],
  [['--size', '128'], 2, /expected height and width/],
  [['--size', '0x128'], 2, /expected height and width/],
  [['--depth', 'two'], 2, /expected a whole number/],
  [['--config-file', demo, 'other.yml'], 2, /two configuration files/],
  [['no-such-file.yml'], 1, /no-such-file.yml: there is no such file/],
];

for (const [args, exit, message] of wrong) {
  test(`reid-native model ${args.join(' ').replace(demo, 'F.yml')}: exit code ${exit}`, async () => {
    const { code, stderr } = await reidNative(['model', ...args]);
    assert.match(stderr, message);
    assert.equal(code, exit);
  });
}

test('the image is as large as evaluation makes it: the piece that INPUT.CROP cuts out', async () => {
  const crop = ['INPUT.CROP.ENABLED', 'True', 'INPUT.CROP.SIZE', '[48]', 'INPUT.SIZE_TEST', '[56]'];
  assert.deepEqual((await summary(demo, ...crop)).size, [48, 48]);
  assert.deepEqual((await summary(demo, '--size', '64', '32', ...crop)).size, [64, 32]);
});
