import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { DEVICES, skipWithout } from '../support/devices.js';
import { FakeRecorder } from '../support/fake_recorder.js';

const { cuda } = torch;

/** Losses of some steps and the weights after them, step by step as usual or by a GraphedStep. */
function train(
  device: string,
  recorder: torch.cuda.StepRecorder | 'cuda' | null,
  precision: 'float16' | 'float32',
) {
  torch.manualSeed(3);
  const model = new torch.nn.Sequential(
    new torch.nn.Linear(6, 16),
    new torch.nn.BatchNorm1d(16),
    new torch.nn.ReLU(),
    new torch.nn.Linear(16, 3),
  ).to(device);
  const optimizer = new torch.optim.AdamW(model.parameters(), { lr: 0.01, capturable: true });
  const scaler = new torch.amp.GradScaler({ enabled: precision === 'float16', initScale: 1024 });
  const body = (x: torch.Tensor, y: torch.Tensor): torch.Tensor => {
    const forward = (): torch.Tensor => torch.cross_entropy_loss(model.call(x), y);
    const loss =
      precision === 'float16' ? torch.autocast(device, { dtype: torch.float16 }, forward) : forward();
    scaler.scale(loss).backward();
    scaler.unscale_(optimizer);
    torch.optim.clipGradNorm_([...model.parameters()], 0.5);
    scaler.step(optimizer);
    scaler.update();
    return loss;
  };
  const losses: number[] = [];
  const step =
    recorder === null
      ? (x: torch.Tensor, y: torch.Tensor): torch.Tensor => {
          optimizer.zeroGrad();
          return body(x.to(device), y.to(device));
        }
      : (() => {
          const graphed = new cuda.GraphedStep(body, {
            optimizers: optimizer,
            device,
            ...(recorder !== 'cuda' && { recorder }),
          });
          return (x: torch.Tensor, y: torch.Tensor) => graphed.call(x, y);
        })();
  for (let i = 0; i < 8; i++) {
    optimizer.paramGroups[0].lr = 0.01 / (i + 1);
    // One batch of another size in between.
    const x = torch.randn([i === 6 ? 5 : 8, 6]);
    const y = torch.randint(0, 3, [x.shape[0]]);
    losses.push(torch.scope(() => Number(step(x, y).item())));
  }
  return { losses, weights: [...model.stateDict().values()].map((t) => t.cpu().toArray()) };
}

/** What the step does is recorded by CUDA, and on the CPU by what stands for it. */
const recording = (device: string) => ({ device, ...(device === 'cpu' && { recorder: new FakeRecorder() }) });

for (const device of DEVICES) {
  const options = skipWithout(device);

  for (const precision of ['float32', 'float16'] as const) {
    test(`${device}, ${precision}: a recorded step does what the usual one does`, options, () => {
      const recorder = device === 'cpu' ? new FakeRecorder() : 'cuda';
      const found = train(device, recorder, precision);
      const expected = train(device, null, precision);
      assert.deepEqual(found, expected);
      if (recorder === 'cuda') return;
      const [warm, replays] = [Array(3).fill('warm-up'), Array(3).fill('replay')];
      assert.deepEqual(recorder.log, [...warm, 'record', ...replays, 'warm-up', 'replay']);
    });
  }

  /** Two weights in groups of their own, stepped by SGD on their sum times the input's. */
  function twoGroups() {
    const params = [1, 2].map((value) => torch.full([1], value, { device }).requiresGrad_());
    const groups = params.map((p) => ({ params: [p] }));
    const optimizer = new torch.optim.SGD(groups, { lr: 0.5, momentum: 0.5, capturable: true });
    const step = new cuda.GraphedStep(
      (x) => {
        const loss = params[0].add(params[1]).mul(x).sum();
        loss.backward();
        optimizer.step();
        return loss;
      },
      { optimizers: optimizer, warmup: 1, ...recording(device) },
    );
    const run = (size: number): number => torch.scope(() => Number(step.call(torch.ones([size])).item()));
    const weights = (): number[] => params.map((p) => Number(p.item()));
    return { params, optimizer, step, run, weights };
  }

  test(`${device}: a recording is not used once others have grouped the parameters anew`, options, () => {
    const between: Record<string, (made: ReturnType<typeof twoGroups>) => void> = {
      'a batch of another shape': ({ run }) => void run(3),
      'a step of the optimizer': ({ optimizer }) => optimizer.step(),
      'a loaded state and a step': ({ optimizer }) => {
        optimizer.loadStateDict(optimizer.stateDict());
        optimizer.step();
      },
    };
    for (const [name, act] of Object.entries(between)) {
      const made = twoGroups();
      const { optimizer, step, run, weights } = made;
      for (let i = 0; i < 3; i++) run(1);
      assert.ok(step.recorded);
      optimizer.paramGroups[0].lr = 0;
      optimizer.paramGroups[1].lr = 0.25;
      act(made);
      for (const recorded of [false, true, true]) {
        const before = weights();
        run(1);
        assert.equal(step.recorded, recorded, name);
        const after = weights();
        assert.equal(after[0], before[0], name);
        const momentum = optimizer.state.get(made.params[1])?.momentum_buffer as torch.Tensor;
        assert.equal(after[1], before[1] - 0.25 * Number(momentum.item()), name);
      }
    }
  });

  test(`${device}: state that is loaded before the recording is made before it`, options, () => {
    const { optimizer, step, run } = twoGroups();
    const blank = optimizer.stateDict();
    run(1);
    optimizer.loadStateDict(blank);
    for (const recorded of [false, true]) {
      run(1);
      assert.equal(step.recorded, recorded);
    }
  });

  test(`${device}: autograd graphs that others still hold do not stand in the way`, options, () => {
    const { params, step, run } = twoGroups();
    const seen: number[] = [];
    params[0].registerHook((grad) => void seen.push(Number(grad.shape[0])));
    params[0].registerPostAccumulateGradHook((p) => void seen.push(-Number(p.grad?.shape[0])));
    const held = params[0].mul(params[1]).sum();
    const losses = [run(1), run(2), run(1), run(3), run(1), run(1)];
    assert.ok(step.recorded);
    // Momentum 0.5, gradients 1, 2, 1, 3, 1 of each weight.
    assert.deepEqual(losses, [3, 4, -0.5, -8.25, -6.875, -9.9375]);
    assert.ok(seen.length >= 8 && seen.every((value, i) => value === (i % 2 ? -1 : 1)), String(seen));
    const output = step.call(torch.ones([1]));
    assert.equal(output.requiresGrad, false);
    // The held one goes on as well.
    const [grad] = torch.autograd.grad([held], [params[0]]);
    assert.equal(grad?.item(), params[1].item());
  });

  test(`${device}: within autocast nothing is recorded; autocast is for the body`, options, () => {
    const model = new torch.nn.Linear(4, 2).to(device);
    for (const p of model.parameters()) torch.nn.init.zeros_(p);
    const optimizer = new torch.optim.SGD(model.parameters(), { lr: 0.5, capturable: true });
    const step = new cuda.GraphedStep(
      (x) => {
        const loss = model.call(x).to(torch.float32).sum();
        loss.backward();
        optimizer.step();
        return loss;
      },
      { optimizers: optimizer, warmup: 1, ...recording(device) },
    );
    const run = (cacheEnabled: boolean): torch.Tensor =>
      torch.autocast(device, { dtype: torch.bfloat16, cacheEnabled }, () => step.call(torch.ones([2, 4])));
    assert.throws(() => run(true), /cannot be recorded within autocast.*cacheEnabled: false/);
    for (let i = 0; i < 3; i++) run(false);
    assert.ok(step.recorded);
    // Each step takes 0.5 · 2 from every weight and bias, which were 0.
    assert.equal(Number(run(false).item()), 2 * 2 * 5 * -3);
  });
}

test('the recording is made anew when parameters are grouped otherwise, and after reset()', () => {
  const params = [torch.ones([2]), torch.ones([3])].map((p) => p.requiresGrad_());
  const optimizer = new torch.optim.SGD(
    params.map((p) => ({ params: [p] })),
    { lr: 0.5, capturable: true },
  );
  const recorder = new FakeRecorder();
  const step = new cuda.GraphedStep(
    (x) => {
      const loss = params[0].sum().add(params[1].sum()).mul(x);
      loss.backward();
      optimizer.step();
      return { loss };
    },
    { optimizers: optimizer, device: 'cpu', warmup: 1, recorder },
  );
  const run = (): number => torch.scope(() => Number(step.call(torch.ones([])).loss.item()));
  assert.deepEqual([run(), run(), run()], [5, 2.5, 0]);
  assert.ok(step.recorded);
  optimizer.paramGroups[1].lr = 0;
  assert.equal(run(), -2.5);
  assert.ok(!step.recorded);
  assert.deepEqual([run(), run()], [-3.5, -4.5]);
  step.reset();
  assert.ok(!step.recorded);
  const first = ['warm-up', 'record', 'replay', 'replay'];
  assert.deepEqual(recorder.log, [...first, 'reset', 'warm-up', 'record', 'replay', 'replay', 'reset']);
});

test('an optimizer whose steps wait for the CPU is refused', () => {
  const w = torch.ones([1]).requiresGrad_();
  const options = { optimizers: new torch.optim.Adam([w]), device: 'cpu', recorder: new FakeRecorder() };
  assert.throws(() => new cuda.GraphedStep(() => w, options), /Adam is not capturable; set its `capturable`/);
});

test('a step on another device than the current one', skipWithout('cuda', 2), () => {
  const w = torch.ones([2], { device: 'cuda:1' }).requiresGrad_();
  const optimizer = new torch.optim.SGD([w], { lr: 0.5, capturable: true });
  const step = new cuda.GraphedStep(
    (x) => {
      const loss = w
        .mul(x)
        .mul(torch.ones([], { device: 'cuda' }))
        .sum();
      loss.backward();
      optimizer.step();
      return loss;
    },
    { optimizers: optimizer, device: 'cuda:1' },
  );
  const sizes = [2, 2, 2, 2, 2, 1, 2];
  const losses = sizes.map((size) => torch.scope(() => Number(step.call(torch.ones([size])).item())));
  assert.ok(step.recorded);
  assert.deepEqual(losses, [2, 1, 0, -1, -2, -3, -4]);
  assert.equal(cuda.currentDevice(), 0);
});

test('at least one step comes before the recording', () => {
  const w = torch.ones([1]).requiresGrad_();
  const optimizers = new torch.optim.SGD([w], { lr: 1, capturable: true });
  for (const warmup of [0, -1, 1.5, Number.NaN]) {
    assert.throws(
      () => new cuda.GraphedStep(() => w, { optimizers, warmup, ...recording('cpu') }),
      new RegExp(`GraphedStep: warmup is ${warmup}; it must be a whole number from 1 on`),
    );
  }
});
