import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BatchGroup,
  BatchNorm,
  buildModel,
  FrozenBatchNorm,
  GhostBatchNorm,
  getNorm,
  NORM_REGISTRY,
  SyncBatchNorm,
  setBatchGroup,
  setNormSplits,
} from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { DEVICES, skipWithout } from '../support/devices.js';
import { fillModel } from '../support/fill.js';
import { referenceCfg } from '../support/golden.js';
import { checkLayer } from '../support/layer_fidelity.js';

type Tensor = torch.Tensor;

for (const name of ['BN', 'GhostBN', 'FrozenBN', 'GN']) checkLayer(`norm_${name}`, () => getNorm(name, 32));
checkLayer('norm_BN_biasfreeze', () => getNorm('BN', 32, { freezeBias: true }));
// In one process the two are the same.
checkLayer('norm_BN', () => getNorm('syncBN', 32), 'norm_syncBN');

/** Output, input gradient and parameter gradients of a layer for ⟨output, weights⟩. */
function step(layer: torch.nn.Module, input: Tensor, weights: Tensor): Map<string, Tensor> {
  const x = input.clone().requiresGrad_();
  const y = layer.call(x);
  y.mul(weights).sum().backward();
  const found = new Map<string, Tensor>([
    ['y', y.detach()],
    ['dx', x.grad as Tensor],
  ]);
  for (const [name, p] of layer.namedParameters()) found.set(name, p.grad as Tensor);
  return found;
}

/** Every second sample, from `first`. */
const half = (x: Tensor, first: number): Tensor => x.index(torch.slice(first, undefined, 2));

test('GhostBN normalises every part by itself and keeps the mean of their statistics', () => {
  const ghost = new GhostBatchNorm(6, { splits: 2 });
  fillModel(ghost, 1);
  const alone = [0, 1].map(() => {
    const layer = new BatchNorm(6);
    layer.loadStateDict(ghost.stateDict());
    return layer;
  });
  const x = torch.randn([8, 6, 3, 2]);
  const weights = torch.randn([8, 6, 3, 2]);
  const whole = step(ghost, x, weights);
  const parts = alone.map((layer, i) => step(layer, half(x, i), half(weights, i)));
  for (const part of ['y', 'dx']) {
    for (const i of [0, 1]) {
      const found = half(whole.get(part) as Tensor, i);
      assertWithin(deviation(found, parts[i].get(part) as Tensor), 1e-6, `${part} of part ${i}`);
    }
  }
  for (const name of ['weight', 'bias']) {
    const sum = (parts[0].get(name) as Tensor).add(parts[1].get(name) as Tensor);
    assertWithin(deviation(whole.get(name) as Tensor, sum), 1e-6, name);
  }
  for (const name of ['running_mean', 'running_var'] as const) {
    const mean = (alone[0][name] as Tensor).add(alone[1][name] as Tensor).div(2);
    assertWithin(deviation(ghost[name] as Tensor, mean), 1e-6, name);
  }
  ghost.eval();
  alone[0].loadStateDict(ghost.stateDict());
  assert.equal(deviation(ghost.call(x), alone[0].eval().call(x)), 0);
});

test('GhostBN: parts must be equal and whole', () => {
  const layer = new GhostBatchNorm(4, { splits: 3 });
  assert.throws(() => layer.call(torch.zeros([4, 4, 2, 2])), /4 images cannot be parted into 3 equal splits/);
  assert.throws(() => layer.call(torch.zeros([3, 4, 1, 1])), /one value a channel/);
  assert.throws(() => new GhostBatchNorm(4, { splits: 0 }), /number of splits is 0/);
  assert.match(String(layer), /splits=3/);
});

test('NORM_SPLIT reaches the layers of the backbone and of the neck', () => {
  const model = buildModel(
    referenceCfg({
      'MODEL.BACKBONE.DEPTH': '18x',
      'MODEL.BACKBONE.FEAT_DIM': 512,
      'MODEL.BACKBONE.NORM': 'GhostBN',
      'MODEL.BACKBONE.NORM_SPLIT': 2,
      'MODEL.HEADS.NORM': 'GhostBN',
      'MODEL.HEADS.NORM_SPLIT': 4,
    }),
    () => {},
  );
  const splits = (prefix: string): number[] => {
    const all = [...model.namedModules()].filter(([path]) => path.startsWith(prefix)).map(([, m]) => m);
    return all.filter((m) => m instanceof GhostBatchNorm).map((m) => m.splits);
  };
  assert.deepEqual([...new Set(splits('backbone.'))], [2]);
  assert.deepEqual(splits('heads.'), [4]);
  setNormSplits(model, 1);
  assert.deepEqual([...new Set(splits(''))], [1]);
});

for (const device of DEVICES)
  test(
    `syncBN: the statistics and gradients are those of all processes, on ${device}`,
    skipWithout(device),
    () => {
      const whole = new BatchNorm(6);
      fillModel(whole, 1);
      whole.to(device);
      // Processes of different batch sizes, one after another: each finds what the others give in `given`.
      const x = torch.randn([5, 6, 3, 2]).add(3).to(device);
      const weights = torch.randn([5, 6, 3, 2]).to(device);
      const expected = step(whole, x, weights);
      const bounds = [
        [0, 2],
        [2, 3],
      ];
      const given: Tensor[][] = [[], []];
      const found: Map<string, Tensor>[] = [];
      // Rounds: after each, one more of the two calls of `gather` has what every process gives.
      for (let round = 0; round < 3; round++) {
        bounds.forEach(([start, length], rank) => {
          const layer = new SyncBatchNorm(6);
          fillModel(layer, 1);
          layer.to(device);
          let call = 0;
          const group: BatchGroup = {
            rank,
            gather(own) {
              given[rank][call] = own.clone().keep();
              const all = given.map((tensors, other) => (other === rank ? own : (tensors[call] ?? own)));
              call++;
              return torch.stack(all);
            },
          };
          setBatchGroup(layer, group);
          found[rank] = step(layer, x.narrow(0, start, length), weights.narrow(0, start, length));
          found[rank].set('running_mean', layer.running_mean as Tensor);
          found[rank].set('running_var', layer.running_var as Tensor);
          assert.equal(call, 2);
        });
      }
      for (const part of ['y', 'dx']) {
        const all = torch.cat(found.map((process) => process.get(part) as Tensor));
        assertWithin(deviation(all, expected.get(part) as Tensor), 1e-5, part);
      }
      for (const name of ['weight', 'bias']) {
        const sum = (found[0].get(name) as Tensor).add(found[1].get(name) as Tensor);
        assertWithin(deviation(sum, expected.get(name) as Tensor), 1e-5, name);
      }
      for (const name of ['running_mean', 'running_var'] as const) {
        for (const process of found) {
          assertWithin(deviation(process.get(name) as Tensor, whole[name] as Tensor), 1e-6, name);
        }
      }
    },
  );

for (const device of DEVICES)
  test(`syncBN: sums of gradients are not those of a short type, on ${device}`, skipWithout(device), () => {
    const layer = new SyncBatchNorm(1).to(device);
    setBatchGroup(layer, { rank: 0, gather: (own) => own.unsqueeze(0) });
    // ±1, so that both sums are their number: 2¹⁷, which no float16 holds.
    const signs = torch.ones([8, 1, 128, 128]);
    signs.narrow(0, 0, 4).neg_();
    const x = signs.to({ device, dtype: torch.float16 }).requiresGrad_();
    const grads: Record<string, number> = {};
    for (const [name, grad] of Object.entries({ bias: signs.abs(), weight: signs })) {
      layer.zeroGrad();
      layer.call(x).backward(grad.to({ device, dtype: torch.float16 }));
      const of = layer[name as 'bias'] as Tensor;
      grads[name] = (of.grad as Tensor).item() as number;
    }
    assert.equal(grads.bias, 131072);
    assertWithin(Math.abs(grads.weight! - 131072), 2, 'weight'); // less by ½ eps
    assert.ok((x.grad as Tensor).isfinite().all().item());
    assert.equal((x.grad as Tensor).dtype, torch.float16);
  });

test('syncBN: the neck may keep its shift, and evaluation asks nobody', () => {
  const layer = new SyncBatchNorm(4, { freezeBias: true });
  setBatchGroup(layer, { rank: 0, gather: (own) => own.unsqueeze(0) });
  const x = torch.randn([3, 4, 2, 2]);
  layer.call(x).sum().backward();
  assert.equal(layer.bias?.grad, null);
  assert.ok(layer.weight?.grad);
  setBatchGroup(layer, { rank: 0, gather: () => assert.fail('asked') });
  layer.eval().call(x);
});

test('FrozenBN starts as the identity, is fixed, and loads files with and without statistics', () => {
  const layer = new FrozenBatchNorm(4);
  assert.deepEqual([...layer.namedParameters()], []);
  const x = torch.randn([2, 4, 3, 3]);
  assertWithin(deviation(layer.call(x), x), 1e-6, 'fused');
  assertWithin(deviation(layer.call(x.clone().requiresGrad_()), x), 1e-6, 'with gradients');
  const affine = new Map([
    ['weight', torch.full([4], 2)],
    ['bias', torch.full([4], 3)],
  ]);
  const report = layer.loadStateDict(affine);
  assert.deepEqual([report.missing, report.loaded], [[], ['weight', 'bias']]);
  assertWithin(deviation(layer.call(x), x.mul(2).add(3)), 1e-6, 'scale and shift');
  const trained = new BatchNorm(4);
  fillModel(trained, 1);
  const { unexpected, missing } = layer.loadStateDict(trained.stateDict(), { strict: false });
  assert.deepEqual([unexpected, missing], [['num_batches_tracked'], []]);
  assertWithin(deviation(layer.call(x), trained.eval().call(x)), 1e-6, 'as BatchNorm in evaluation');
});

test('every normalisation works in backbone and neck', () => {
  for (const name of NORM_REGISTRY.names()) {
    const model = buildModel(
      referenceCfg({
        'MODEL.BACKBONE.DEPTH': '18x',
        'MODEL.BACKBONE.FEAT_DIM': 512,
        'MODEL.BACKBONE.NORM': name,
        'MODEL.HEADS.NORM': name,
      }),
      () => {},
    );
    const images = torch.randint(0, 256, [4, 3, 32, 16]).to(torch.uint8);
    const targets = torch.tensor([0, 0, 1, 1], { dtype: torch.int64 });
    const losses = model.losses({ images, targets });
    losses.loss_cls.add(losses.loss_triplet).backward();
    const weight = [...model.namedParameters()][0][1];
    assert.ok(weight.grad?.isfinite().all().item(), name);
    assert.deepEqual(model.eval().embed(images).shape, [4, 512], name);
  }
});

test('GN refuses a width that 32 does not divide', () => {
  assert.throws(() => getNorm('GN', 16), /16 channels.*32/);
});
