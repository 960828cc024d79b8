import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Lamb } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { goldenPath } from '../support/paths.js';

type Tensor = torch.Tensor;

test('20 steps as FastReID takes them', () => {
  const { fastreid_lamb: options } = JSON.parse(readFileSync(goldenPath('optim.json'), 'utf8'));
  const data = torch.loadSafetensors(goldenPath('optim.safetensors'));
  const [a, start, steps] = ['A', 'w0', 'fastreid_lamb'].map((key) => data.get(key) as Tensor);
  const w = new torch.nn.Parameter(start.clone());
  const optimizer = new Lamb([w], { lr: options.lr, weightDecay: options.weight_decay });
  for (const [step, expected] of steps.unbind(0).entries()) {
    optimizer.zeroGrad();
    a.mv(w).pow(2).sum().mul(0.5).add(w.mul(3).sin().sum()).backward();
    optimizer.step();
    assertWithin(deviation(w, expected), 1e-5, `step ${step}`);
  }
});

test('each parameter has a ratio of its own, capped for large ones, 1 for zeros', () => {
  const step = (value: number, gradient: number): number => {
    const others = new torch.nn.Parameter(torch.full([7], 3));
    const w = new torch.nn.Parameter(torch.full([4], value));
    const optimizer = new Lamb([others, w], { lr: 0.5, eps: 0, betas: [0.5, 0.75] });
    others.grad = torch.ones([7]);
    w.grad = torch.full([4], gradient);
    optimizer.step();
    return value - Number(w.select(0, 0).item());
  };
  const near = (actual: number, expected: number): void =>
    assert.ok(Math.abs(actual - expected) < 1e-5, `${actual} instead of ${expected}`);
  // The update is m / √v = (0.5 g) / (0.5 |g|) in each element, of norm 2; the parameter's norm is 2 · value.
  near(step(1, 0.1), 0.5);
  near(step(1, -20), -0.5);
  near(step(3, 0.1), 0.5 * 3);
  near(step(40, 0.1), 0.5 * 5);
  near(step(0, 0.1), 0.5);
});

test("goes on from FastReID's state as if it had made it", () => {
  const make = (): [torch.nn.Parameter, Lamb] => {
    const w = new torch.nn.Parameter(torch.tensor([1, -2, 3]));
    return [w, new Lamb([w], { lr: 0.1, weightDecay: 0.1 })];
  };
  const steps = (w: torch.nn.Parameter, optimizer: Lamb): void => {
    for (let i = 1; i < 4; i++) {
      w.grad = torch.tensor([0.1 * i, 0.2, -0.3]);
      optimizer.step();
    }
  };
  const [w, optimizer] = make();
  steps(w, optimizer);
  const { state, param_groups } = optimizer.stateDict();
  const norms = { weight_norm: torch.tensor(2), adam_norm: torch.tensor(3), trust_ratio: 1 };
  const theirs = { state: new Map([[0, { ...state.get(0), step: 3, ...norms }]]), param_groups };
  const [resumed, other] = make();
  torch.noGrad(() => resumed.copy_(w));
  other.loadStateDict(theirs);
  steps(w, optimizer);
  steps(resumed, other);
  assert.deepEqual(resumed.toArray(), w.toArray());
  assert.deepEqual(Object.keys(other.stateDict().state.get(0) ?? {}), ['step', 'exp_avg', 'exp_avg_sq']);
});

test('options out of range are refused', () => {
  const w = new torch.nn.Parameter(torch.ones([1]));
  assert.throws(
    () => new Lamb([w], { betas: [0.9, 1] }),
    /Lamb: options must not be negative.*betas \[0\.9, 1\]/,
  );
  assert.throws(() => new Lamb([w], { lr: -1 }), /lr -1/);
});
