import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BACKBONE_REGISTRY, buildModel, buildResNet } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { deviation } from '../support/closeness.js';
import { referenceCfg } from '../support/golden.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-'));
after(() => rmSync(folder, { recursive: true }));

const R18 = { 'MODEL.BACKBONE.DEPTH': '18x', 'MODEL.BACKBONE.FEAT_DIM': 512 };
const silent = (): void => {};

function tiny(options: Record<string, unknown> = {}) {
  return buildResNet(referenceCfg({ ...R18, ...options }), silent);
}

test('the last stride halves the map, the stem rounds sizes up', () => {
  const images = torch.zeros([1, 3, 70, 38]);
  const sizeOf = (stride: number): number[] => {
    const model = tiny({ 'MODEL.BACKBONE.LAST_STRIDE': stride }).eval();
    return torch.noGrad(() => model.call(images)).shape;
  };
  assert.deepEqual(sizeOf(1), [1, 512, 5, 3]);
  assert.deepEqual(sizeOf(2), [1, 512, 3, 2]);
});

test('an unknown depth and blocks that are not there are refused by key', () => {
  assert.throws(() => tiny({ 'MODEL.BACKBONE.DEPTH': '19x' }), /MODEL.BACKBONE.DEPTH is '19x'.*18x, 34x/);
  assert.throws(() => tiny({ 'MODEL.BACKBONE.WITH_IBN': true }), /MODEL.BACKBONE.WITH_IBN/);
});

/** Loads a file into a fresh ResNet-18; gives the model and what was logged. */
function pretrained(path: string) {
  const lines: string[] = [];
  const cfg = referenceCfg({ ...R18, 'MODEL.BACKBONE.PRETRAIN': true, 'MODEL.BACKBONE.PRETRAIN_PATH': path });
  const model = buildResNet(cfg, (line) => lines.push(line));
  return { model, log: lines.join('\n') };
}

test('weights load from a torchvision file: classifier left aside, counters optional', () => {
  const state = tiny().stateDict();
  for (const key of [...state.keys()]) if (key.endsWith('num_batches_tracked')) state.delete(key);
  state.set('fc.weight', torch.zeros([1000, 512]));
  state.set('fc.bias', torch.zeros([1000]));
  const path = join(folder, 'resnet18.pth');
  torch.saveSync(state, path);
  const { model, log } = pretrained(path);
  assert.match(
    log,
    /^Loaded 100 tensors of pre-trained weights from .*resnet18.pth\n.*ignored: fc.weight, fc.bias$/,
  );
  assert.equal(deviation(model.conv1.weight, state.get('conv1.weight') as torch.Tensor), 0);
});

test('weights load from a data-parallel FastReID checkpoint, layer by layer', () => {
  const source = buildModel(referenceCfg(R18), silent).stateDict();
  const model = new Map([...source].map(([key, t]) => [`module.${key}`, t]));
  model.delete('module.backbone.layer1.0.conv1.weight');
  model.set('module.backbone.layer4.1.bn2.bias', torch.zeros([3]));
  model.set('module.backbone.extra', torch.zeros([1]));
  const path = join(folder, 'model_best.pth');
  torch.saveSync(new Map<string, unknown>([['model', model]]), path);
  const { log } = pretrained(path);
  assert.match(log, /^Loaded 118 tensors/);
  assert.match(log, /missing in the file, keeps its initial value: layer1.0.conv1.weight/);
  assert.match(log, /layer4.1.bn2.bias is \[512\], in the file \[3\]/);
  assert.match(log, /not in the backbone, ignored: extra/);
  assert.match(log, /no part of the backbone, ignored: heads.weight/);
});

test('weights load from safetensors', () => {
  const path = join(folder, 'resnet18.safetensors');
  torch.saveSafetensors(tiny().stateDict(), path);
  assert.match(pretrained(path).log, /^Loaded 120 tensors/);
});

test('without a file the message says where the weights are and how to do without', () => {
  assert.throws(
    () => pretrained(join(folder, 'none.pth')),
    /there is no file .*none.pth.*resnet18-5c106cde.pth/,
  );
  const { TORCH_HOME } = process.env;
  process.env.TORCH_HOME = folder;
  try {
    assert.throws(
      () => pretrained(''),
      /Download https:.*resnet18-5c106cde.pth.*PRETRAIN False trains from/s,
    );
  } finally {
    if (TORCH_HOME === undefined) delete process.env.TORCH_HOME;
    else process.env.TORCH_HOME = TORCH_HOME;
  }
});

test('a file of something else is refused', () => {
  const path = join(folder, 'other.safetensors');
  torch.saveSafetensors(new Map([['other', torch.zeros([1])]]), path);
  assert.throws(() => pretrained(path), /no tensor of .*other.safetensors fits the backbone; it holds other/);
});

test("a user's backbone is reached by its name", () => {
  class Mine extends torch.nn.Module {
    readonly conv = new torch.nn.Conv2d(3, 8, 4, { stride: 4 });
    static fromConfig(): object {
      return {};
    }
    protected override forward(x: torch.Tensor): torch.Tensor {
      return this.conv.call(x);
    }
  }
  BACKBONE_REGISTRY.register('my_backbone', Mine);
  const options = { 'MODEL.BACKBONE.NAME': 'my_backbone', 'MODEL.BACKBONE.FEAT_DIM': 8 };
  const model = buildModel(referenceCfg(options), silent).eval();
  assert.deepEqual(model.embed(torch.zeros([2, 3, 16, 8])).shape, [2, 8]);
});
