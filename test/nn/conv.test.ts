import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';

const { Conv2d } = torch.nn;

test('few channels, a 1×1 kernel and a stride: channels_last gives the gradients of the usual layout', () => {
  torch.manualSeed(1);
  for (const channels of [3, 8]) {
    const conv = new Conv2d(channels, 48, 1, { stride: 2, bias: false });
    const x = torch.randn([8, channels, 128, 64]);
    const grad = torch.randn([8, 48, 64, 32]);
    const run = (input: torch.Tensor): torch.Tensor => {
      conv.zeroGrad();
      conv.call(input).backward(grad);
      return (conv.weight.grad as torch.Tensor).clone();
    };
    const expected = run(x);
    const last = x.contiguous({ memory_format: 'channels_last' });
    assert.equal(last.strides[1], 1);
    conv.weight.setData(
      conv.weight.detach().as_strided(conv.weight.shape, [channels, 1, channels, channels]),
    );
    // More than once: libtorch's own kernel writes beyond its memory, which the heap notices after a while.
    for (let i = 0; i < 12; i++) {
      torch.scope(() => assert.ok(torch.allclose(run(last), expected, 1e-4, 1e-4)));
    }
  }
});
