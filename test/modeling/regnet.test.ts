import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Config, getCfg } from '../../src/config/index.js';
import { buildBackbone, EffNet } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';

const folder = mkdtempSync(join(tmpdir(), 'regnet-'));
after(() => rmSync(folder, { recursive: true }));

function cfgOf(options: Record<string, unknown>): Config {
  const cfg = getCfg();
  cfg.mergeFromList(Object.entries(options).flatMap(([key, value]) => [`MODEL.BACKBONE.${key}`, value]));
  return cfg;
}

const silent = (): void => {};
const REGNET = { NAME: 'build_regnet_backbone', DEPTH: '200y' };
const EFFNET = { NAME: 'build_effnet_backbone', DEPTH: 'b0' };

for (const [options, channels] of [
  [REGNET, 368],
  [EFFNET, 1280],
] as const) {
  test(`${options.NAME}: LAST_STRIDE and NORM take effect`, () => {
    const x = torch.zeros([1, 3, 64, 32]);
    for (const [lastStride, shape] of [
      [1, [1, channels, 4, 2]],
      [2, [1, channels, 2, 1]],
    ] as const) {
      const backbone = buildBackbone(
        cfgOf({ ...options, LAST_STRIDE: lastStride, NORM: 'FrozenBN' }),
        silent,
      );
      assert.deepEqual(torch.noGrad(() => backbone.call(x)).shape, shape);
      assert.ok([...backbone.modules()].every((module) => !(module instanceof torch.nn.BatchNorm2d)));
    }
    assert.throws(
      () => buildBackbone(cfgOf({ ...options, DEPTH: '9x' }), silent),
      /DEPTH is '9x'; build_.* has/,
    );
  });
}

/** Names that a file of torchvision or timm has for an entry of ours. */
const PUBLISHED: [options: object, name: string, theirs: string[]][] = [
  [REGNET, 'stem.conv.weight', ['stem.0.weight', 'stem.conv.weight']],
  [REGNET, 's3.b2.f.b.weight', ['trunk_output.block3.block3-1.f.b.0.weight', 's3.b2.conv2.conv.weight']],
  [REGNET, 's3.b1.bn.bias', ['trunk_output.block3.block3-0.proj.1.bias', 's3.b1.downsample.bn.bias']],
  [REGNET, 's4.b7.f.se.f_ex.2.bias', ['trunk_output.block4.block4-6.f.se.fc2.bias', 's4.b7.se.fc2.bias']],
  [EFFNET, 'stem.conv.weight', ['features.0.0.weight', 'conv_stem.weight']],
  [EFFNET, 's1.b1.dwise_bn.bias', ['features.1.0.block.0.1.bias', 'blocks.0.0.bn1.bias']],
  [EFFNET, 's1.b1.lin_proj.weight', ['features.1.0.block.2.0.weight', 'blocks.0.0.conv_pw.weight']],
  [EFFNET, 's2.b2.exp.weight', ['features.2.1.block.0.0.weight', 'blocks.1.1.conv_pw.weight']],
  [EFFNET, 's2.b2.se.f_ex.0.bias', ['features.2.1.block.2.fc1.bias', 'blocks.1.1.se.conv_reduce.bias']],
  [EFFNET, 's6.b4.lin_proj_bn.weight', ['features.6.3.block.3.1.weight', 'blocks.5.3.bn3.weight']],
  [EFFNET, 'head.conv_bn.weight', ['features.8.1.weight', 'bn2.weight']],
];

for (const [options, name, theirs] of PUBLISHED) {
  test(`${name} is found in the files of torchvision and timm`, () => {
    const shape = buildBackbone(cfgOf({ ...options }), silent)
      .stateDict()
      .get(name)?.shape;
    assert.ok(shape, name);
    for (const key of theirs) {
      const path = join(folder, 'published.safetensors');
      torch.saveSafetensors(new Map([[key, torch.full(shape, 3)]]), path);
      const cfg = cfgOf({ ...options, PRETRAIN: true, PRETRAIN_PATH: path });
      const loaded = buildBackbone(cfg, silent).stateDict().get(name);
      assert.ok(loaded?.eq(3).all().item(), key);
    }
  });
}

test('pycls keeps its weights under model_state', () => {
  const source = buildBackbone(cfgOf(REGNET), silent).stateDict();
  const path = join(folder, 'pycls.pyth');
  torch.saveSync(
    new Map([['model_state', new Map([...source, ['head.fc.weight', torch.zeros([1])]])]]),
    path,
  );
  const lines: string[] = [];
  buildBackbone(cfgOf({ ...REGNET, PRETRAIN: true, PRETRAIN_PATH: path }), (line) => lines.push(line));
  assert.match(
    lines.join('\n'),
    new RegExp(`^Loaded ${source.size} tensors .*\\n.*ignored: head.fc.weight$`),
  );
});

test('drop connect leaves whole images out while training, and nothing in evaluation', () => {
  torch.manualSeed(0);
  const depths = [1, 2, 1, 1, 1, 1, 1] as const;
  const widths = [8, 8, 8, 8, 8, 8, 8] as const;
  const options = { stemWidth: 8, depths, widths, headWidth: 16, lastStride: 1, norm: 'BN' };
  const model = new EffNet({ ...options, dropConnect: 0.5 });
  const block = model.getModule('s2.b2') as torch.nn.Module;
  const x = torch.randn([64, 8, 4, 4]);
  const unchanged = block.call(x).sub(x).abs().sum([1, 2, 3]).eq(0).sum().item();
  assert.ok(Number(unchanged) > 16 && Number(unchanged) < 48, `${unchanged} of 64 images skip the block`);
  block.eval();
  assert.equal(block.call(x).sub(x).abs().sum([1, 2, 3]).eq(0).sum().item(), 0);
});
