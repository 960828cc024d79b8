import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BACKBONE_REGISTRY, buildModel, buildResNet } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { deviation } from '../support/closeness.js';
import { images } from '../support/fill.js';
import { referenceCfg } from '../support/golden.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-'));
after(() => rmSync(folder, { recursive: true }));

const R18 = { 'MODEL.BACKBONE.DEPTH': '18x', 'MODEL.BACKBONE.FEAT_DIM': 512 };
const R50 = { 'MODEL.BACKBONE.DEPTH': '50x' };
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

test('an unknown depth is refused by key; an option without effect is named', () => {
  assert.throws(() => tiny({ 'MODEL.BACKBONE.DEPTH': '19x' }), /MODEL.BACKBONE.DEPTH is '19x'.*18x, 34x/);
  const log: string[] = [];
  buildResNet(referenceCfg({ ...R18, 'MODEL.BACKBONE.WITH_NL': true }), (line) => log.push(line));
  assert.match(log.join('\n'), /^MODEL.BACKBONE.WITH_NL has no effect: build_resnet_backbone 18x/);
});

test('a fresh non-local block changes nothing', () => {
  const at = (options: object) => buildResNet(referenceCfg({ ...R50, ...options }), silent).eval();
  const [plain, nonLocal] = [at({}), at({ 'MODEL.BACKBONE.WITH_NL': true })];
  const report = nonLocal.loadStateDict(plain.stateDict(), { strict: false });
  assert.equal(report.missing.filter((key) => !/^NL_[23]\.\d\./.test(key)).length, 0);
  const image = images('non-local', 1, 32, 32);
  torch.noGrad(() => assert.equal(deviation(nonLocal.call(image), plain.call(image)), 0));
});

/** Loads a file into a fresh ResNet-18; gives the model and what was logged. */
function pretrained(path: string, options: Record<string, unknown> = {}) {
  const lines: string[] = [];
  const weights = { 'MODEL.BACKBONE.PRETRAIN': true, 'MODEL.BACKBONE.PRETRAIN_PATH': path };
  const cfg = referenceCfg({ ...R18, ...weights, ...options });
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

const IBN = { 'MODEL.BACKBONE.WITH_IBN': true };

test('published weights with IBN load by their names', () => {
  const path = join(folder, 'resnet18_ibn.pth');
  torch.saveSync(tiny(IBN).stateDict(), path);
  assert.match(pretrained(path, IBN).log, /^Loaded 132 tensors of pre-trained weights from \S+$/);
});

test('weights without IBN are split over its halves', () => {
  const state = tiny().stateDict();
  const key = 'layer2.1.bn1';
  torch.noGrad(() => {
    for (const entry of ['weight', 'running_var']) state.get(`${key}.${entry}`)?.copy_(torch.arange(128));
  });
  const path = join(folder, 'resnet18_without_ibn.pth');
  torch.saveSync(state, path);
  const { model, log } = pretrained(path, IBN);
  assert.match(log, /^Loaded 132 tensors of pre-trained weights from \S+$/);
  const own = model.stateDict();
  const first = (name: string) => (own.get(`${key}.${name}`) as torch.Tensor).narrow(0, 0, 2).toArray();
  assert.deepEqual(first('IN.weight'), [0, 1]);
  assert.deepEqual(first('BN.weight'), [64, 65]);
  assert.deepEqual(first('BN.running_var'), [64, 65]);
});

test('without a file the message says where the weights are and how to do without', () => {
  assert.throws(
    () => pretrained(join(folder, 'none.pth')),
    /there is no file .*none.pth.*resnet18-5c106cde.pth/,
  );
  const SE = { 'MODEL.BACKBONE.WITH_SE': true };
  const R101 = { 'MODEL.BACKBONE.DEPTH': '101x', 'MODEL.BACKBONE.FEAT_DIM': 2048 };
  const { TORCH_HOME } = process.env;
  process.env.TORCH_HOME = folder;
  try {
    const refused = (options: object, message: RegExp) =>
      assert.throws(() => pretrained('', { ...options }), message);
    refused({}, /Download https:.*resnet18-5c106cde.pth.*PRETRAIN False trains from/s);
    refused(IBN, /Download \S*IBN-Net\S*resnet18_ibn_a-2f571257.pth/);
    refused({ ...IBN, ...SE, ...R101 }, /Download \S*se_resnet101_ibn_a-fabed4e2.pth/);
    // None are published with SE alone: those without it come nearest.
    refused(SE, /Download \S*resnet18-5c106cde.pth/);
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
