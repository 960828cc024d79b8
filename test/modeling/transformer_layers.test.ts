import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attention } from '../../src/modeling/layers/attention.js';
import { DropPath, dropPathRates } from '../../src/modeling/layers/drop_path.js';
import { guessGrid } from '../../src/modeling/layers/position_embedding.js';
import { truncatedNormal_ } from '../../src/modeling/layers/trunc_normal.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { fill, fillModel } from '../support/fill.js';

torch.setNumThreads(1);

test('drop path: whole samples are zero as often as it says, the others scaled, the mean as it was', () => {
  torch.manualSeed(0);
  const layer = new DropPath(0.3);
  const samples = 20_000;
  const out = layer.call(torch.ones([samples, 2, 3])).reshape([samples, 6]);
  const sums = out.sum([1]).toTypedArray() as Float32Array;
  const kept = sums.filter((sum) => sum !== 0);
  for (const sum of kept) assertWithin(Math.abs(sum - 6 / 0.7), 1e-5, 'a kept sample');
  // Five standard deviations of a binomial distribution.
  assertWithin(Math.abs(kept.length / samples - 0.7), 5 * Math.sqrt((0.3 * 0.7) / samples), 'share kept');
});

test('drop path: nothing in evaluation and with a probability of 0; not 1 and above', () => {
  const x = torch.ones([4, 2]);
  assert.ok(torch.equal(new DropPath(0.9).eval().call(x), x));
  assert.ok(torch.equal(new DropPath(0).call(x), x));
  assert.throws(() => new DropPath(1), /DropPath: probability must be in \[0, 1\), got 1/);
});

test('drop path: rates rise evenly from 0', () => {
  assert.deepEqual(dropPathRates(0.5, 3), [0, 0.25, 0.5]);
  assert.deepEqual(dropPathRates(0.5, 1), [0]);
});

test('fused attention agrees with the products written out, gradients too', () => {
  const results = [false, true].map((fused) => {
    const layer = new Attention({ dim: 48, heads: 4, scale: 0.2, fused });
    fillModel(layer, 1);
    const x = fill('x', [3, 17, 48]).requiresGrad_();
    const y = layer.call(x);
    y.backward(fill('cotangent', y.shape));
    return [y, x.grad, layer.qkv.weight.grad, layer.proj.bias?.grad];
  });
  for (const [i, plain] of results[0].entries()) {
    assertWithin(deviation(results[1][i] as torch.Tensor, plain as torch.Tensor), 1e-5, `result ${i}`);
  }
});

test('fused attention drops weights as often as the products written out', () => {
  torch.manualSeed(0);
  const tokens = 64;
  const [plain, fused] = [false, true].map((fused) => {
    const layer = new Attention({ dim: 4, heads: 1, attentionDrop: 0.25, fused });
    torch.noGrad(() => {
      layer.qkv.weight.zero_();
      layer.qkv.bias?.fill_(1);
      layer.proj.weight.copy_(torch.eye(4));
      layer.proj.bias?.zero_();
    });
    // All weights are 1 / tokens and all values 1: what comes out is the share kept, times 4/3.
    return layer.call(torch.zeros([8, tokens, 4]));
  });
  for (const each of [plain, fused]) {
    assertWithin(Math.abs(Number(each.mean().item()) - 1), 0.02, 'mean');
    const spread = Math.sqrt((0.25 / 0.75) * (1 / tokens));
    assertWithin(Math.abs(Number(each.std().item()) / spread - 1), 0.15, 'spread');
  }
});

test('attention: channels that heads cannot share are refused', () => {
  assert.throws(() => new Attention({ dim: 10, heads: 4 }), /10 channels cannot be parted into 4 heads/);
});

test('the grid of an embedding: a square if it can be, else the shape nearest to the wanted one', () => {
  assert.deepEqual(guessGrid(196, [16, 8]), [14, 14]);
  assert.deepEqual(guessGrid(128, [20, 10]), [16, 8]);
  assert.deepEqual(guessGrid(210, [16, 8]), [21, 10]);
  assert.deepEqual(guessGrid(7, [16, 8]), [7, 1]);
});

test('truncated normal: spread', () => {
  torch.manualSeed(0);
  const x = torch.empty([100_000]);
  truncatedNormal_(x, 0.02);
  assertWithin(Math.abs(Number(x.std().item()) / 0.02 - 1), 0.02, 'spread');
  assertWithin(Math.abs(Number(x.mean().item())), 5e-4, 'mean');
});
