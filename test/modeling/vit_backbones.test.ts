import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildBackbone, callBackbone } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { backboneCfg } from '../support/backbone_cfg.js';

torch.setNumThreads(1);

const NAMES: Record<string, string[]> = {
  build_vit_backbone: ['small', 'base'],
  build_dinov2_backbone: ['small', 'base', 'large', 'small_reg4', 'base_reg4', 'large_reg4'],
  build_timm_vit_backbone: ['tiny', 'small', 'base', 'large', 'small_patch8', 'base_patch8'],
  build_clip_vit_backbone: ['base', 'base_gelu', 'large'],
  build_convnext_backbone: ['tiny', 'small', 'base'],
};
const SIZE = { 'INPUT.SIZE_TRAIN': [64, 32] };
const TINY = { NAME: 'build_timm_vit_backbone', DEPTH: 'tiny' };

const silent = (): void => {};
const images = (height: number, width: number): torch.Tensor => torch.zeros([2, 3, height, width]);
const cameras = (...numbers: number[]): torch.Tensor => torch.tensor(numbers, { dtype: torch.int64 });

for (const [NAME, depths] of Object.entries(NAMES)) {
  test(`${NAME}: an unknown DEPTH lists those there are`, () => {
    assert.throws(
      () => buildBackbone(backboneCfg({ NAME, DEPTH: '50x' }), silent),
      new RegExp(`MODEL.BACKBONE.DEPTH is '50x'; ${NAME} has ${depths.join(', ')}$`),
    );
  });
}

test('images smaller than a patch are refused, in the configuration and in a batch', () => {
  const small = backboneCfg(TINY, { 'INPUT.SIZE_TRAIN': [64, 8] });
  assert.throws(() => buildBackbone(small, silent), /an image of \[64,8\] is smaller than a patch of 16/);
  const vit = buildBackbone(backboneCfg(TINY, SIZE), silent);
  assert.throws(() => vit.call(images(64, 12)), /an image of \[64,12\] is smaller than a patch of 16/);
});

test('a weight of camera embeddings without any: that it has no effect is said', () => {
  const lines: string[] = [];
  buildBackbone(backboneCfg({ ...TINY, SIE_COE: 1.5 }, SIZE), (line) => lines.push(line));
  assert.match(lines.join('\n'), /^MODEL.BACKBONE.SIE_COE has no effect: MODEL.BACKBONE.SIE_CAMERAS is 0/);
});

test('cropped images decide on the grid of positions', () => {
  const crop = { 'INPUT.CROP.ENABLED': true, 'INPUT.CROP.SIZE': [48, 48] };
  const vit = buildBackbone(backboneCfg(TINY, { ...SIZE, ...crop }), silent);
  assert.deepEqual(vit.stateDict().get('pos_embed')?.shape, [1, 1 + 9, 192]);
});

test('patches that leave out a border: the sizes that would fit are said', () => {
  const lines: string[] = [];
  const dinov2 = { NAME: 'build_dinov2_backbone', DEPTH: 'small' };
  buildBackbone(backboneCfg(dinov2, { 'INPUT.SIZE_TRAIN': [64, 32] }), (line) => lines.push(line));
  assert.deepEqual(lines, [
    'Patches of 14 pixels leave out 8 rows and 4 columns of images of [64, 32]; ' +
      'INPUT.SIZE_TRAIN and INPUT.SIZE_TEST of [70, 28] would fit',
  ]);
});

test('TOKENS: a class token or a map of patches, nothing else', () => {
  const shapeOf = (TOKENS: string): number[] =>
    buildBackbone(backboneCfg({ ...TINY, TOKENS }, SIZE), silent).call(images(64, 32)).shape;
  assert.deepEqual(shapeOf('cls'), [2, 192, 1, 1]);
  assert.deepEqual(shapeOf('patch'), [2, 192, 4, 2]);
  assert.throws(() => shapeOf('all'), /MODEL.BACKBONE.TOKENS is 'all'; it must be 'cls' or 'patch'/);
});

test('side information: cameras change features by SIE_COE', () => {
  const build = (SIE_COE: number): torch.nn.Module => {
    torch.manualSeed(0);
    return buildBackbone(backboneCfg({ ...TINY, SIE_CAMERAS: 3, SIE_COE }, SIZE), silent).eval();
  };
  const features = (vit: torch.nn.Module, camids?: torch.Tensor): torch.Tensor =>
    torch.noGrad(() => callBackbone(vit, images(64, 32), camids));
  const [weighty, weightless] = [build(3), build(0)];
  const [first, second] = features(weighty, cameras(0, 2)).unbind(0);
  assert.ok(!torch.equal(first, second));
  const [same, alike] = features(weightless, cameras(0, 2)).unbind(0);
  assert.ok(torch.equal(same, alike));
  // Of cameras that are not known, the mean.
  torch.noGrad(() => {
    const sie = weighty.stateDict().get('sie_embed') as torch.Tensor;
    sie.copy_(sie.mean([0], true).expand([3, -1, -1]));
  });
  assert.ok(torch.allclose(features(weighty), features(weighty, cameras(0, 2)), 1e-5, 1e-6));
});

test('side information: wrong and missing cameras are refused', () => {
  const vit = buildBackbone(backboneCfg({ ...TINY, SIE_CAMERAS: 3 }, SIZE), silent);
  assert.throws(() => callBackbone(vit, images(64, 32), cameras(0, 3)), /SIE_CAMERAS is 3, .* of camera 3/);
  assert.throws(() => callBackbone(vit, images(64, 32), cameras(-1, 0)), /SIE_CAMERAS is 3, .* of camera -1/);
  assert.throws(() => callBackbone(vit, images(64, 32)), /training needs batch.camids/);
  const wrong = backboneCfg({ ...TINY, SIE_CAMERAS: -1 }, SIZE);
  assert.throws(() => buildBackbone(wrong, silent), /SIE_CAMERAS is -1; it must be a number of cameras/);
});

test('CLIP: FEAT_DIM asks for the projected token', () => {
  const clip = { NAME: 'build_clip_vit_backbone', DEPTH: 'base' };
  const widths = [512, 768].map((FEAT_DIM) =>
    torch.noGrad(
      () => buildBackbone(backboneCfg({ ...clip, FEAT_DIM }, SIZE), silent).call(images(64, 32)).shape[1],
    ),
  );
  assert.deepEqual(widths, [512, 768]);
});

test('ConvNeXt: LAST_STRIDE, and options that have no effect', () => {
  const lines: string[] = [];
  const convnext = { NAME: 'build_convnext_backbone', DEPTH: 'tiny', NORM: 'syncBN' };
  for (const [LAST_STRIDE, stride] of [
    [1, 16],
    [2, 32],
  ]) {
    const model = buildBackbone(backboneCfg({ ...convnext, LAST_STRIDE }), (line) => lines.push(line));
    const map = torch.noGrad(() => model.call(images(96, 64)));
    assert.deepEqual(map.shape, [2, 768, 96 / stride, 64 / stride]);
  }
  assert.equal(lines[0], 'MODEL.BACKBONE.NORM has no effect: build_convnext_backbone has no such option');
});
