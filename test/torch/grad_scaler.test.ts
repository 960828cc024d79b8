import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const { GradScaler } = torch.amp;
const OPTIONS = { initScale: 1024, growthFactor: 3, backoffFactor: 0.25, growthInterval: 3 };

/** What is put into the first gradient at each step; null leaves it. */
const INJECTED = [null, null, 'inf', null, null, null, 'nan', '-inf', null, null, null, null];

const REFERENCE = `
import json, sys, torch
given = json.load(sys.stdin)
o = given['options']
scaler = torch.amp.GradScaler('cpu', init_scale=o['initScale'], growth_factor=o['growthFactor'],
    backoff_factor=o['backoffFactor'], growth_interval=o['growthInterval'])
w = torch.tensor([1.0, 0.1, -3.0], requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9, fused=True)
rows = []
for bad in given['injected']:
    optimizer.zero_grad()
    scaler.scale((w * w).sum() / 7).backward()
    if bad: w.grad[0] = float(bad)
    # Not the fused path, which scales within the kernel.
    optimizer._step_supports_amp_scaling = False
    if given['clip']:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_([w], 0.5)
    scaler.step(optimizer)
    scaler.update()
    rows.append([*w.tolist(), *scaler.state_dict().values()])
json.dump(rows, sys.stdout)
`;

function ours(clip: boolean, resumeAt?: number): number[][] {
  let scaler = new GradScaler(OPTIONS);
  const w = torch.tensor([1, 0.1, -3], { dtype: torch.float32 }).requiresGrad_();
  const optimizer = new torch.optim.SGD([w], { lr: 0.1, momentum: 0.9 });
  return INJECTED.map((bad, i) => {
    if (i === resumeAt) {
      const state = scaler.stateDict();
      scaler = new GradScaler();
      scaler.loadStateDict(new Map(Object.entries(state)));
    }
    optimizer.zeroGrad();
    scaler.scale(w.mul(w).sum().div(7)).backward();
    if (bad !== null) {
      const value = { inf: Number.POSITIVE_INFINITY, '-inf': Number.NEGATIVE_INFINITY, nan: Number.NaN }[bad];
      (w.grad as torch.Tensor).indexPut_([0], value as number);
    }
    if (clip) {
      scaler.unscale_(optimizer);
      torch.optim.clipGradNorm_([w], 0.5);
    }
    assert.equal(scaler.step(optimizer), bad === null);
    scaler.update();
    return [...(w.toTypedArray() as Float32Array), ...(Object.values(scaler.stateDict()) as number[])];
  });
}

for (const clip of [false, true]) {
  test(`weights and scale are Python’s, step by step${clip ? ', with clipping' : ''}`, {
    skip: pythonTorch() ? false : pythonTorchMissing,
  }, () => {
    const expected = runPython<number[][]>(REFERENCE, { options: OPTIONS, injected: INJECTED, clip });
    assert.deepEqual(ours(clip), expected);
    assert.deepEqual(ours(clip, 5), expected, 'resumed');
  });
}

test('every optimizer’s gradients are looked at; one bad one lowers the scale for all', () => {
  const scaler = new GradScaler({ initScale: 8 });
  const [a, b] = [1, 2].map((v) => torch.tensor([v], { dtype: torch.float32 }).requiresGrad_());
  const [first, second] = [a, b].map((p) => new torch.optim.SGD([p], { lr: 1 }));
  scaler.scale(a.add(b).sum()).backward();
  (b.grad as torch.Tensor).fill_(Number.NaN);
  assert.deepEqual([scaler.step(first), scaler.step(second)], [true, false]);
  scaler.update();
  assert.deepEqual([a.item(), b.item(), scaler.getScale()], [0, 2, 4]);
  scaler.scale(a.sum()).backward();
  assert.equal((a.grad as torch.Tensor).item(), 1 + 4);
  scaler.update(100);
  assert.equal(scaler.getScale(), 100);
});

test('calls out of order are refused', () => {
  const w = torch.ones([1]).requiresGrad_();
  const optimizer = new torch.optim.SGD([w], { lr: 1 });
  const scaler = new GradScaler();
  assert.throws(() => scaler.step(optimizer), /step was called before scale/);
  assert.throws(() => scaler.unscale_(optimizer), /unscale_ was called before scale/);
  assert.throws(() => scaler.update(), /update was called before scale/);
  const loss = scaler.scale(w.sum());
  assert.throws(() => scaler.update(), /needs a step\(\) or unscale_\(\)/);
  assert.throws(() => scaler.step(optimizer), /no parameter of the optimizer has a gradient/);
  loss.backward();
  scaler.unscale_(optimizer);
  assert.throws(() => scaler.unscale_(optimizer), /called twice on this optimizer/);
  scaler.step(optimizer);
  assert.throws(() => scaler.step(optimizer), /step was called twice/);
  assert.throws(() => scaler.unscale_(optimizer), /after step\(\)/);
  assert.throws(() => new GradScaler({ growthFactor: 1 }), /growthFactor is 1/);
  assert.throws(() => new GradScaler({ backoffFactor: 1 }), /backoffFactor is 1/);
  assert.throws(() => new GradScaler({ initScale: 0 }), /initScale is 0/);
  assert.throws(() => scaler.loadStateDict({}), /the state has no 'scale'/);
  const half = torch.ones([1], { dtype: torch.float16 }).requiresGrad_();
  const other = new torch.optim.SGD([half], { lr: 1 });
  half.sum().backward();
  assert.throws(() => scaler.unscale_(other), /cannot unscale float16 gradients/);
});

test('switched off, it is not there', () => {
  const scaler = new GradScaler({ enabled: false });
  const w = torch.ones([1]).requiresGrad_();
  const optimizer = new torch.optim.SGD([w], { lr: 0.5 });
  const loss = w.sum();
  assert.equal(scaler.scale(loss), loss);
  loss.backward();
  scaler.unscale_(optimizer);
  assert.equal(scaler.step(optimizer), true);
  scaler.update();
  assert.deepEqual([w.item(), scaler.getScale(), scaler.stateDict()], [0.5, 1, {}]);
  scaler.loadStateDict({ scale: 4 });
});

test('its state outlives scopes, and steps leave nothing behind', () => {
  const scaler = new GradScaler();
  const w = torch.ones([4]).requiresGrad_();
  const optimizer = new torch.optim.SGD([w], { lr: 0.1 });
  const counts: number[] = [];
  for (let i = 0; i < 4; i++) {
    torch.scope(() => {
      optimizer.zeroGrad();
      scaler.scale(w.sum()).backward();
      scaler.step(optimizer);
      scaler.update();
    });
    counts.push(torch.memoryStats().liveTensors);
  }
  assert.ok(counts[3] <= counts[1], counts.join());
  assert.equal(scaler.stateDict()._growth_tracker, 4);
});
