import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildModel, deploy, type MetaArch, RepVGGBlock } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { fillModel, images } from '../support/fill.js';
import { referenceCfg } from '../support/golden.js';

const A0 = {
  'MODEL.BACKBONE.NAME': 'build_repvgg_backbone',
  'MODEL.BACKBONE.DEPTH': 'A0',
  'MODEL.BACKBONE.FEAT_DIM': 1280,
};

function model(): MetaArch {
  const made = buildModel(referenceCfg(A0), () => {});
  fillModel(made, 0.7);
  return made;
}

test('the deploy form gives the same features with one convolution a block', () => {
  const trained = model().eval();
  const batch = images('repvgg', 2, 64, 32);
  const expected = trained.embed(batch);
  const deployed = deploy(model());
  assertWithin(deviation(deployed.embed(batch), expected), 1e-5, 'features');
  const blocks = [...deployed.modules()].filter((module) => module instanceof RepVGGBlock);
  assert.equal(blocks.length, 22);
  for (const block of blocks) {
    assert.deepEqual([...block.stateDict().keys()], ['rbr_reparam.weight', 'rbr_reparam.bias']);
  }
  assert.equal(deploy(deployed), deployed, 'twice is once');
});

test('blocks with groups are merged too', () => {
  const block = new RepVGGBlock(8, 8, { stride: 1, groups: 2, norm: 'BN' });
  torch.noGrad(() => {
    for (const [key, tensor] of block.stateDict()) {
      if (key.endsWith('var')) tensor.uniform_(0.5, 2);
      else if (tensor.dtype === torch.float32) tensor.normal_(0, 0.5);
    }
  });
  block.eval();
  const x = torch.randn([2, 8, 6, 5]);
  const expected = block.call(x);
  block.deploy();
  assertWithin(deviation(block.call(x), expected), 1e-5, 'output');
});

test('a state of the deploy form, published or of FastReID, brings a model to it', () => {
  const deployed = deploy(model());
  const batch = images('repvgg', 2, 64, 32);
  const state = deployed.stateDict();
  const fused = new Map([...state].map(([key, t]) => [key.replace('rbr_reparam.', 'fused_'), t]));
  for (const given of [state, fused]) {
    const fresh = buildModel(referenceCfg(A0), () => {}).eval();
    fresh.loadStateDict(given);
    assert.ok(torch.equal(fresh.embed(batch), deployed.embed(batch)));
  }
});

test('what has no running statistics cannot be merged', () => {
  const block = new RepVGGBlock(32, 32, { stride: 1, groups: 1, norm: 'GN' });
  assert.throws(() => block.deploy(), /RepVGG: GroupNorm.* has no running statistics/);
});
