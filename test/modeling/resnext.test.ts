import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { buildResNeXt } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { referenceCfg } from '../support/golden.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-'));
after(() => rmSync(folder, { recursive: true }));

function make(options: Record<string, unknown> = {}) {
  const lines: string[] = [];
  const keys = Object.entries(options).map(([key, value]) => [`MODEL.BACKBONE.${key}`, value]);
  const cfg = referenceCfg({ 'MODEL.BACKBONE.DEPTH': '50x', ...Object.fromEntries(keys) });
  const model = buildResNeXt(cfg, (line) => lines.push(line));
  return { model, log: lines.join('\n') };
}

test('the last stride halves the map', () => {
  const images = torch.zeros([1, 3, 70, 38]);
  const sizeOf = (stride: number) =>
    torch.noGrad(() => make({ LAST_STRIDE: stride }).model.eval().call(images)).shape;
  assert.deepEqual(sizeOf(1), [1, 2048, 5, 3]);
  assert.deepEqual(sizeOf(2), [1, 2048, 3, 2]);
});

test('152x has 3, 8, 36 and 3 blocks, and non-local blocks after the last of the second and third stage', () => {
  const { model } = make({ DEPTH: '152x', WITH_NL: true });
  const lengths = [model.layer1, model.layer2, model.layer3, model.layer4].map((stage) => stage.length);
  assert.deepEqual(lengths, [3, 8, 36, 3]);
  const blocks = new Set([...model.stateDict().keys()].map((key) => /^NL_\d\.\d/.exec(key)?.[0]));
  assert.deepEqual([...blocks].filter(Boolean), ['NL_2.0', 'NL_2.1', 'NL_3.0', 'NL_3.1', 'NL_3.2']);
});

test('an unknown depth is refused by key; an option without effect is named', () => {
  assert.throws(() => make({ DEPTH: '18x' }), /MODEL.BACKBONE.DEPTH is '18x'.*50x, 101x, 152x/);
  assert.match(make({ WITH_SE: true }).log, /^MODEL.BACKBONE.WITH_SE has no effect/);
});

test('weights trained as an encoder load, and those without IBN in the last stage', () => {
  const plain = make().model.stateDict();
  const mixed = new Map(
    [...make({ WITH_IBN: true }).model.stateDict()].filter(([key]) => !key.startsWith('layer4')),
  );
  for (const [key, tensor] of plain) if (key.startsWith('layer4')) mixed.set(key, tensor);
  const path = join(folder, 'resnext.pth');
  const encoder = new Map([...mixed].map(([key, tensor]) => [`module.encoder.${key}`, tensor]));
  torch.saveSync(new Map([['model', encoder]]), path);
  const { log } = make({ WITH_IBN: true, PRETRAIN: true, PRETRAIN_PATH: path });
  assert.match(log, /^Loaded \d+ tensors of pre-trained weights from \S+$/);
});

test('without a file the message says where the weights are', () => {
  const { TORCH_HOME } = process.env;
  process.env.TORCH_HOME = folder;
  try {
    const refused = (options: object, message: RegExp) =>
      assert.throws(() => make({ PRETRAIN: true, ...options }), message);
    refused({}, /Download \S*resnext50_32x4d-7cdf4587.pth/);
    refused({ DEPTH: '101x' }, /Download \S*gluon_resnext101_32x4d-b253c8c4.pth/);
    refused({ DEPTH: '101x', WITH_IBN: true }, /Download \S*resnext101_ibn_a-6ace051d.pth/);
    refused({ DEPTH: '152x' }, /no weights of build_resnext_backbone 152x are published; name a file/);
    refused({ DEPTH: '152x', PRETRAIN_PATH: join(folder, 'none.pth') }, /there is no file .*none.pth/);
  } finally {
    if (TORCH_HOME === undefined) delete process.env.TORCH_HOME;
    else process.env.TORCH_HOME = TORCH_HOME;
  }
});
