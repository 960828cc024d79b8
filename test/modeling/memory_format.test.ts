import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Config, getCfg } from '../../src/config/index.js';
import { applyMemoryFormat, buildModel, deploy, type MetaArch } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { MODELS, resnet } from '../support/model_cases.js';

let threads: number;
before(() => {
  threads = torch.getNumThreads();
  torch.setNumThreads(1);
});
after(() => torch.setNumThreads(threads));

const silent = (): void => {};

function configure(overrides: readonly unknown[]): Config {
  return getCfg()
    .mergeFromList(['MODEL.DEVICE', 'cpu', 'MODEL.HEADS.NUM_CLASSES', 4, 'INPUT.SIZE_TRAIN', [96, 32]])
    .mergeFromList(overrides);
}

function bothWays(model: MetaArch, images: torch.Tensor): { features: torch.Tensor; grads: torch.Tensor[] } {
  const features = model.call(images) as torch.Tensor;
  model.zeroGrad();
  features.pow(2).sum().backward();
  const grads = [...model.parameters()].flatMap(({ grad }) => (grad === null ? [] : [grad.clone()]));
  return { features: features.detach(), grads };
}

const distance = (a: torch.Tensor, b: torch.Tensor): number =>
  Number(a.sub(b).norm().div(b.norm().clamp_min(1e-9)).item());

for (const [name, overrides] of Object.entries(MODELS)) {
  test(`${name}: the same features, gradients and losses in either layout, but for rounding`, () => {
    torch.scope(() => {
      torch.manualSeed(2);
      const cfg = configure(overrides);
      const model = buildModel(cfg, silent);
      const images = torch.rand([4, 3, 96, 32]).mul(255);
      const targets = torch.tensor([0n, 0n, 1n, 1n]);
      // Running statistics that make the network's scale sane.
      torch.noGrad(() => model.call({ images, targets }));
      model.eval();
      const plain = bothWays(model, images);
      assert.equal(applyMemoryFormat(model, cfg), 'channels_last');
      const maps: torch.Tensor[] = [];
      const conv = [...model.modules()].find((m) => m instanceof torch.nn.Conv2d) as torch.nn.Conv2d;
      const hook = conv.registerForwardHook((_module, _args, map) => void maps.push(map.clone().keep()));
      const other = bothWays(model, images);
      hook.remove();
      assert.equal(maps[0].strides[1], 1, 'maps are in the layout of the weights');
      assert.ok(distance(other.features, plain.features) < 1e-4);
      assert.equal(other.grads.length, plain.grads.length);
      const all = (grads: torch.Tensor[]) => torch.cat(grads.map((grad) => grad.flatten()));
      assert.ok(distance(all(other.grads), all(plain.grads)) < 1e-3);
      model.train();
      for (const loss of Object.values(model.losses({ images, targets }))) {
        assert.ok(loss.isfinite().item());
        loss.backward(null, { retainGraph: true });
      }
    });
  });
}

test('auto is for models that convolve, and on CUDA for mixed precision', () => {
  const vit = ['MODEL.BACKBONE.NAME', 'build_vit_backbone', 'MODEL.BACKBONE.DEPTH', 'small'];
  const taken = (overrides: unknown[]): [string, number] => {
    const cfg = configure(overrides);
    const build = cfg.clone();
    build.MODEL.DEVICE = 'cpu';
    const model = buildModel(build, silent);
    // The weights stay on the CPU: what is asked is what would be done.
    const format = applyMemoryFormat(model, cfg);
    const weight = [...model.parameters()].find((p) => p.dim() === 4 && p.shape[2] > 1) as torch.Tensor;
    return [format, weight.strides[1]];
  };
  assert.deepEqual(taken(resnet()), ['channels_last', 1]);
  assert.deepEqual(taken(resnet('MODEL.MEMORY_FORMAT', 'contiguous')), ['contiguous', 49]);
  assert.deepEqual(taken(resnet('MODEL.DEVICE', 'cuda')), ['contiguous', 49]);
  assert.deepEqual(taken(resnet('MODEL.DEVICE', 'cuda:1', 'SOLVER.AMP.ENABLED', true)), ['channels_last', 1]);
  const transformer = [...vit, 'MODEL.BACKBONE.FEAT_DIM', 768, 'MODEL.HEADS.POOL_LAYER', 'Identity'];
  assert.deepEqual(taken(transformer), ['contiguous', 256]);
  assert.deepEqual(taken([...transformer, 'MODEL.MEMORY_FORMAT', 'channels_last']), ['channels_last', 1]);
  assert.throws(
    () => taken(resnet('MODEL.MEMORY_FORMAT', 'nhwc')),
    /MODEL\.MEMORY_FORMAT is 'nhwc'; it must be/,
  );
});

test('a deployed RepVGG takes the layout too', () => {
  const cfg = configure(MODELS.RepVGG);
  const model = deploy(buildModel(cfg, silent));
  const images = torch.rand([2, 3, 64, 32]).mul(255);
  const before = model.embed(images);
  applyMemoryFormat(model, cfg);
  assert.ok(distance(model.embed(images), before) < 1e-4);
});
