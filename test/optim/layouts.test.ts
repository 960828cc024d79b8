import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';

const { nn, optim } = torch;
torch.setNumThreads(1);

const MAKERS = {
  Adam: (params: torch.optim.Params) => new optim.Adam(params, { lr: 0.01, amsgrad: true }),
  AdamW: (params: torch.optim.Params) => new optim.AdamW(params, { lr: 0.01 }),
  SGD: (params: torch.optim.Params) => new optim.SGD(params, { lr: 0.01, momentum: 0.9 }),
};

// Weights of 1 × 1 and of depthwise convolutions, and the strides that their gradients have in channels_last.
const GRADIENTS = [
  { shape: [8, 4, 1, 1], strides: [4, 1, 4, 4] },
  { shape: [4, 1, 3, 3], strides: [9, 1, 3, 1] },
];

/** Three steps from the same values; the gradient has the given strides. */
function steps(make: (typeof MAKERS)['Adam' | 'SGD'], shape: number[], strides?: number[]): number[] {
  return torch.scope(() => {
    const n = shape.reduce((a, b) => a * b, 1);
    const weight = new nn.Parameter(torch.linspace(-1, 1, n).view(shape));
    const optimizer = make([weight]);
    for (let step = 1; step <= 3; step++) {
      const gradient = torch.linspace(-2, 3, n).mul(step).sin();
      weight.grad = strides ? gradient.as_strided(shape, strides) : gradient.view(shape);
      if (strides) assert.deepEqual([...weight.grad.strides], strides);
      optimizer.step();
    }
    return weight.detach().view([-1]).toArray() as number[];
  });
}

for (const [name, make] of Object.entries(MAKERS)) {
  test(`${name}: the stride of a dimension of one in a gradient does not matter`, () => {
    for (const { shape, strides } of GRADIENTS) {
      assert.deepEqual(steps(make, shape, strides), steps(make, shape), `${shape}`);
    }
  });

  test(`${name} trains 1 × 1 and depthwise convolutions in channels_last`, () => {
    const model = new nn.Sequential(new nn.Conv2d(4, 8, 1), new nn.Conv2d(8, 8, 3, { groups: 8 }));
    model.to({ memoryFormat: 'channels_last' });
    const before = [...model.parameters()].map((p) => p.detach().clone());
    const x = torch
      .linspace(-1, 1, 2 * 4 * 6 * 6)
      .view([2, 4, 6, 6])
      .contiguous({ memory_format: 'channels_last' });
    const optimizer = make(model.parameters());
    model.call(x).pow(2).sum().backward();
    optimizer.step();
    for (const [i, parameter] of [...model.parameters()].entries()) {
      assert.ok(Number(parameter.sub(before[i]).abs().max().item()) > 0);
      assert.ok(parameter.isfinite().all().item());
    }
  });
}
