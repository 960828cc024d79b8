import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { FakeRecorder } from '../support/fake_recorder.js';

const { cuda } = torch;
const devices = ['cpu', ...(cuda.isAvailable() ? ['cuda'] : [])];

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

for (const device of devices) {
  for (const precision of ['float32', 'float16'] as const) {
    test(`${device}, ${precision}: a recorded step does what the usual one does, batch after batch`, () => {
      const recorder = device === 'cpu' ? new FakeRecorder() : 'cuda';
      const found = train(device, recorder, precision);
      const expected = train(device, null, precision);
      assert.deepEqual(found, expected);
      if (recorder === 'cuda') return;
      assert.deepEqual(recorder.log, [...Array(3).fill('warm-up'), 'record', ...Array(4).fill('replay')]);
    });
  }
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
