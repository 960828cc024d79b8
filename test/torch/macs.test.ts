import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from './python_json.js';

torch.setNumThreads(1);

const count = (body: () => unknown): number => {
  let macs = 0;
  torch.observeOperators((call) => {
    macs += torch.multiplyAccumulates(call);
  }, body);
  return macs;
};
const ones = (...size: number[]): torch.Tensor => torch.ones(size);

// [name, ours, the same in Python, multiply-accumulate operations by hand]
const cases: [name: string, body: () => unknown, python: string, macs: number][] = [
  [
    'convolution with stride, padding and groups',
    () => torch.conv2d(ones(2, 4, 9, 7), ones(6, 2, 3, 3), null, [2, 1], [1, 0], [1, 1], 2),
    'torch.conv2d(o(2, 4, 9, 7), o(6, 2, 3, 3), None, [2, 1], [1, 0], [1, 1], 2)',
    2 * 6 * 5 * 5 * (2 * 3 * 3),
  ],
  [
    'transposed convolution',
    () => torch.conv_transpose2d(ones(1, 4, 5, 5), ones(4, 3, 2, 2), null, [2, 2]),
    'torch.conv_transpose2d(o(1, 4, 5, 5), o(4, 3, 2, 2), None, [2, 2])',
    4 * 5 * 5 * (3 * 2 * 2),
  ],
  [
    'convolution, given as transposed',
    () =>
      torch.convolution(ones(1, 4, 5, 5), ones(4, 3, 2, 2), null, [2, 2], [0, 0], [1, 1], true, [0, 0], 1),
    'torch.convolution(o(1, 4, 5, 5), o(4, 3, 2, 2), None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1)',
    4 * 5 * 5 * (3 * 2 * 2),
  ],
  [
    'linear layer over several dimensions',
    () => torch.linear(ones(2, 3, 8), ones(5, 8), ones(5)),
    'torch.nn.functional.linear(o(2, 3, 8), o(5, 8), o(5))',
    2 * 3 * 5 * 8,
  ],
  ['mm', () => ones(2, 3).mm(ones(3, 4)), 'o(2, 3).mm(o(3, 4))', 24],
  ['bmm', () => ones(5, 2, 3).bmm(ones(5, 3, 4)), 'o(5, 2, 3).bmm(o(5, 3, 4))', 120],
  [
    'matmul that broadcasts',
    () => ones(6, 5, 2, 3).matmul(ones(5, 3, 4)),
    'o(6, 5, 2, 3).matmul(o(5, 3, 4))',
    720,
  ],
  ['addmm', () => ones(2, 4).addmm(ones(2, 3), ones(3, 4)), 'o(2, 4).addmm(o(2, 3), o(3, 4))', 24],
  [
    'baddbmm',
    () => ones(5, 2, 4).baddbmm(ones(5, 2, 3), ones(5, 3, 4), { beta: 0 }),
    'o(5, 2, 4).baddbmm(o(5, 2, 3), o(5, 3, 4), beta=0)',
    120,
  ],
  [
    'einsum',
    () => torch.einsum('bhqd, b...d -> bhq', [ones(2, 3, 4, 5), ones(2, 5)]),
    "torch.einsum('bhqd, b...d -> bhq', o(2, 3, 4, 5), o(2, 5))",
    2 * 3 * 4 * 5,
  ],
];

describe('multiplyAccumulates', () => {
  for (const [name, body, , macs] of cases) {
    test(name, () => assert.equal(count(body), macs));
  }

  test('attention: the scores and the weighted sum', () => {
    const q = ones(2, 3, 5, 8);
    const k = ones(2, 3, 7, 8);
    const v = ones(2, 3, 7, 4);
    assert.equal(
      count(() => torch.scaled_dot_product_attention(q, k, v)),
      2 * 3 * 5 * 7 * (8 + 4),
    );
  });

  test('forms in place count as the others', () => {
    assert.equal(
      count(() => ones(2, 4).addmm_(ones(2, 3), ones(3, 4))),
      24,
    );
  });

  test('nothing else counts', () => {
    const body = () => torch.batch_norm(ones(2, 3), null, null, null, null, true, 0, 1e-5, true).mul(2).sum();
    assert.equal(count(body), 0);
  });

  const skip = pythonTorch() === undefined ? pythonTorchMissing : false;
  test('half of what PyTorch counts as floating-point operations', { skip }, () => {
    const program = `
import json, sys, torch
from torch.utils.flop_counter import FlopCounterMode
o = torch.ones
counts = []
for text in json.load(sys.stdin):
    with FlopCounterMode(display=False) as counter:
        eval(text)
    counts.append(counter.get_total_flops())
print(json.dumps(counts))`;
    const flops = runPython<number[]>(
      program,
      cases.map(([, , python]) => python),
    );
    assert.deepEqual(
      flops,
      cases.map(([, , , macs]) => 2 * macs),
    );
  });
});
