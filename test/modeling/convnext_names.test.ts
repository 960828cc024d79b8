import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timmConvNeXtNames } from '../../src/modeling/backbones/convnext_names.js';
import { ConvNeXt } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';

type State = Map<string, torch.Tensor>;

const SMALL = { depths: [1, 2, 1, 1], dims: [4, 8, 12, 16] } as const;
const STAGE_OF = { 1: 0, 3: 1, 5: 2, 7: 3 };

/** Published names and ours, of layers that have a weight and a bias. */
const META: Record<string, string> = {
  'downsample_layers.0.0': 'stem.0',
  'downsample_layers.0.1': 'stem.1',
};
const TORCHVISION: Record<string, string> = { 'features.0.0.0': 'stem.0', 'features.0.1': 'stem.1' };
/** Of the factors on the branches. */
const META_GAMMA: Record<string, string> = {};
const TORCHVISION_GAMMA: Record<string, string> = {};
for (const [layer, stage] of Object.entries(STAGE_OF)) {
  for (let block = 0; block < SMALL.depths[stage]; block++) {
    const [ours, meta, vision] = [
      `stages.${stage}.blocks.${block}`,
      `stages.${stage}.${block}`,
      `features.${layer}.${block}`,
    ];
    META_GAMMA[`${meta}.gamma`] = `${ours}.gamma`;
    TORCHVISION_GAMMA[`${vision}.layer_scale`] = `${ours}.gamma`;
    for (const [name, inMeta, inVision] of [
      ['conv_dw', 'dwconv', 'block.0'],
      ['norm', 'norm', 'block.2'],
      ['mlp.fc1', 'pwconv1', 'block.3'],
      ['mlp.fc2', 'pwconv2', 'block.5'],
    ]) {
      META[`${meta}.${inMeta}`] = `${ours}.${name}`;
      TORCHVISION[`${vision}.${inVision}`] = `${ours}.${name}`;
    }
  }
  if (stage === 0) continue;
  for (const part of [0, 1]) {
    META[`downsample_layers.${stage}.${part}`] = `stages.${stage}.downsample.${part}`;
    TORCHVISION[`features.${Number(layer) - 1}.${part}`] = `stages.${stage}.downsample.${part}`;
  }
}

function check(layers: Record<string, string>, factors: Record<string, string>, others: State): void {
  const own: State = new ConvNeXt({ ...SMALL, depths: [...SMALL.depths], dims: [...SMALL.dims] }).stateDict();
  const published: State = new Map(others);
  for (const [theirs, ours] of Object.entries(layers)) {
    for (const part of ['weight', 'bias']) published.set(`${theirs}.${part}`, own.get(`${ours}.${part}`)!);
  }
  for (const [theirs, ours] of Object.entries(factors)) {
    published.set(theirs, own.get(ours)!.reshape(theirs.endsWith('layer_scale') ? [-1, 1, 1] : [-1]));
  }
  const found = timmConvNeXtNames(published);
  assert.deepEqual([...found.keys()].sort(), [...own.keys()].sort());
  for (const [key, tensor] of own) assert.ok(torch.equal(found.get(key)!, tensor), key);
}

test("ConvNeXt: Meta's names", () => {
  check(META, META_GAMMA, new Map([['norm.weight', torch.zeros([16])]]));
});

test("ConvNeXt: torchvision's names", () => {
  check(TORCHVISION, TORCHVISION_GAMMA, new Map());
});

test("ConvNeXt: timm's names come through unchanged", () => {
  const same = (names: Record<string, string>): Record<string, string> =>
    Object.fromEntries(Object.values(names).map((name) => [name, name]));
  check(same(META), same(META_GAMMA), new Map());
});
