import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Config, getCfg } from '../../src/config/index.js';
import { buildBackbone } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';

const folder = mkdtempSync(join(tmpdir(), 'light-backbones-'));
after(() => rmSync(folder, { recursive: true }));

function cfgOf(options: Record<string, unknown>): Config {
  const cfg = getCfg();
  cfg.mergeFromList(Object.entries(options).flatMap(([key, value]) => [`MODEL.BACKBONE.${key}`, value]));
  return cfg;
}

const silent = (): void => {};

// Name, depth, channels and stride of the map.
const BACKBONES = [
  ['build_osnet_backbone', 'x0_25', 128, 16],
  ['build_mobilenetv2_backbone', '0.1x', 1280, 32],
  ['build_mobilenetv3_backbone', 'Small', 1024, 32],
  ['build_shufflenetv2_backbone', '0.5x', 1024, 32],
] as const;

for (const [NAME, DEPTH, channels, stride] of BACKBONES) {
  test(`${NAME}: the map's shape, and NORM in every layer`, () => {
    const cfg = cfgOf({ NAME, DEPTH, NORM: 'FrozenBN' });
    const backbone = buildBackbone(cfg, silent);
    const map = torch.noGrad(() => backbone.call(torch.zeros([1, 3, 96, 64])));
    assert.deepEqual(map.shape, [1, channels, 96 / stride, 64 / stride]);
    const batchNorms = [...backbone.modules()].filter((module) => module instanceof torch.nn.BatchNorm2d);
    assert.equal(batchNorms.length, 0);
  });

  test(`${NAME}: options that have no effect, sizes there are not, and missing weights are said`, () => {
    const lines: string[] = [];
    buildBackbone(cfgOf({ NAME, DEPTH, WITH_NL: true, NORM: 'syncBN' }), (line) => lines.push(line));
    assert.deepEqual(lines, [`MODEL.BACKBONE.WITH_NL has no effect: ${NAME} has no such option`]);
    const wrong = cfgOf({ NAME, DEPTH: '50x' });
    assert.throws(() => buildBackbone(wrong, silent), new RegExp(`DEPTH is '50x'; ${NAME} has .*${DEPTH}`));
    const { TORCH_HOME } = process.env;
    process.env.TORCH_HOME = folder;
    try {
      const pretrained = cfgOf({ NAME, DEPTH, PRETRAIN: true });
      assert.throws(() => buildBackbone(pretrained, silent), /Download https:.* or name the file by/);
    } finally {
      if (TORCH_HOME === undefined) delete process.env.TORCH_HOME;
      else process.env.TORCH_HOME = TORCH_HOME;
    }
  });

  test(`${NAME}: weights come back from a file`, () => {
    const source = buildBackbone(cfgOf({ NAME, DEPTH }), silent);
    const path = join(folder, `${NAME}.pth`);
    torch.saveSync(
      new Map([['state_dict', new Map([...source.stateDict()].map(([k, t]) => [`module.${k}`, t]))]]),
      path,
    );
    const lines: string[] = [];
    const cfg = cfgOf({ NAME, DEPTH, PRETRAIN: true, PRETRAIN_PATH: path });
    const loaded = buildBackbone(cfg, (line) => lines.push(line)).stateDict();
    assert.deepEqual(lines, [`Loaded ${loaded.size} tensors of pre-trained weights from ${path}`]);
    for (const [key, tensor] of source.stateDict())
      assert.ok(torch.equal(tensor, loaded.get(key) as torch.Tensor));
  });
}

test("OSNet with instance normalisation takes of a plain file's weights what fits", () => {
  const plain = { NAME: 'build_osnet_backbone', DEPTH: 'x0_25' };
  const path = join(folder, 'osnet_x0_25_imagenet.pth');
  torch.saveSync(buildBackbone(cfgOf(plain), silent).stateDict(), path);
  const lines: string[] = [];
  const cfg = cfgOf({ ...plain, WITH_IBN: true, PRETRAIN: true, PRETRAIN_PATH: path });
  buildBackbone(cfg, (line) => lines.push(line));
  assert.match(lines[0], /^Loaded 555 tensors/);
  const missing = lines.filter((line) => line.includes('missing in the file'));
  assert.deepEqual(
    missing.map((line) => line.split(': ')[1]),
    ['conv2.0.IN.weight', 'conv2.0.IN.bias', 'conv2.1.IN.weight', 'conv2.1.IN.bias'],
  );
});
