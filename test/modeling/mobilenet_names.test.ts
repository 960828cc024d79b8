import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mobileNetV2Names, mobileNetV3Names } from '../../src/modeling/backbones/mobilenet_names.js';
import * as torch from '../../src/torch/index.js';

type Convert = (state: Map<string, torch.Tensor>) => Map<string, torch.Tensor>;

/** Checks that each published name on the left becomes the one on the right, with its tensor. */
function checkNames(convert: Convert, names: Record<string, string>): void {
  const state = new Map(Object.keys(names).map((name, i) => [name, torch.tensor([i])]));
  const converted = convert(state);
  assert.deepEqual([...converted.keys()], Object.values(names));
  for (const [from, to] of Object.entries(names)) assert.equal(converted.get(to), state.get(from));
}

test("MobileNetV2: torchvision's names", () => {
  checkNames(mobileNetV2Names, {
    'features.0.1.running_var': 'features.0.1.running_var',
    'features.1.conv.0.0.weight': 'features.1.conv.0.weight',
    'features.1.conv.0.1.bias': 'features.1.conv.1.bias',
    'features.1.conv.1.weight': 'features.1.conv.3.weight',
    'features.1.conv.2.running_mean': 'features.1.conv.4.running_mean',
    'features.17.conv.0.0.weight': 'features.17.conv.0.weight',
    'features.17.conv.0.1.weight': 'features.17.conv.1.weight',
    'features.17.conv.1.0.weight': 'features.17.conv.3.weight',
    'features.17.conv.1.1.num_batches_tracked': 'features.17.conv.4.num_batches_tracked',
    'features.17.conv.2.weight': 'features.17.conv.6.weight',
    'features.17.conv.3.bias': 'features.17.conv.7.bias',
    'features.18.0.weight': 'conv.0.weight',
    'features.18.1.bias': 'conv.1.bias',
  });
});

test("MobileNetV2: timm's names, in any order", () => {
  checkNames(mobileNetV2Names, {
    'bn1.weight': 'features.0.1.weight',
    'bn2.weight': 'conv.1.weight',
    'conv_head.weight': 'conv.0.weight',
    'conv_stem.weight': 'features.0.0.weight',
    'blocks.1.0.bn3.running_var': 'features.2.conv.7.running_var',
    'blocks.1.0.conv_dw.weight': 'features.2.conv.3.weight',
    'blocks.1.0.conv_pw.weight': 'features.2.conv.0.weight',
    'blocks.1.0.conv_pwl.weight': 'features.2.conv.6.weight',
    'blocks.0.0.bn1.bias': 'features.1.conv.1.bias',
    'blocks.0.0.bn2.bias': 'features.1.conv.4.bias',
    'blocks.0.0.conv_dw.weight': 'features.1.conv.0.weight',
    'blocks.0.0.conv_pw.weight': 'features.1.conv.3.weight',
    'blocks.1.10.conv_pw.weight': 'features.4.conv.3.weight',
    'blocks.1.9.conv_pw.weight': 'features.3.conv.3.weight',
  });
});

test("MobileNetV3: timm's names", () => {
  checkNames(mobileNetV3Names, {
    'conv_stem.weight': 'features.0.0.weight',
    'bn1.bias': 'features.0.1.bias',
    'blocks.0.0.conv_dw.weight': 'features.1.block.0.0.weight',
    'blocks.0.0.bn1.weight': 'features.1.block.0.1.weight',
    'blocks.0.0.se.conv_reduce.weight': 'features.1.block.1.fc1.weight',
    'blocks.0.0.se.conv_expand.bias': 'features.1.block.1.fc2.bias',
    'blocks.0.0.conv_pw.weight': 'features.1.block.2.0.weight',
    'blocks.0.0.bn2.weight': 'features.1.block.2.1.weight',
    'blocks.1.0.conv_pw.weight': 'features.2.block.0.0.weight',
    'blocks.1.0.bn2.weight': 'features.2.block.1.1.weight',
    'blocks.1.0.conv_pwl.weight': 'features.2.block.2.0.weight',
    'blocks.1.1.conv_dw.weight': 'features.3.block.1.0.weight',
    'blocks.1.1.se.conv_reduce.weight': 'features.3.block.2.fc1.weight',
    'blocks.1.1.conv_pwl.weight': 'features.3.block.3.0.weight',
    'blocks.1.1.bn3.weight': 'features.3.block.3.1.weight',
    'blocks.2.0.conv.weight': 'features.4.0.weight',
    'blocks.2.0.bn1.weight': 'features.4.1.weight',
    'conv_head.bias': 'conv_head.bias',
  });
});

test("FastReID's own names come through unchanged", () => {
  for (const convert of [mobileNetV2Names, mobileNetV3Names]) {
    const state = new Map(
      ['features.0.0.weight', 'features.1.conv.0.weight', 'features.18.0.weight', 'conv.0.weight'].map(
        (name) => [name, torch.zeros([1])],
      ),
    );
    assert.deepEqual([...convert(state).keys()], [...state.keys()]);
  }
});
