import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AveragedWeights, hooks } from '../../src/engine/index.js';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';
import { NotingTrainer } from './support.js';

class Model extends torch.nn.Module {
  readonly linear = new torch.nn.Linear(3, 2);
  readonly bn = new torch.nn.BatchNorm1d(2);

  constructor() {
    super();
    torch.noGrad(() => {
      for (const p of this.parameters()) p.fill_(1);
    });
  }

  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.bn.call(this.linear.call(x));
  }

  /** What stands for a training step. */
  move(step: number): void {
    torch.noGrad(() => {
      for (const p of this.parameters()) p.mul_(0.9).add_(((step * 7) % 5) / 10);
      this.bn.running_mean?.add_(1);
    });
  }

  get first(): number {
    return Number(this.linear.weight.flatten().select(0, 0).item());
  }
}

const PROGRAM = `
import json, sys, torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn
out = []
for fn in (get_ema_multi_avg_fn(0.9), get_swa_multi_avg_fn()):
    w = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(w.weight)
    averaged = AveragedModel(w, multi_avg_fn=fn)
    for step in range(6):
        with torch.no_grad():
            w.weight.mul_(0.9).add_(step * 7 % 5 / 10)
        averaged.update_parameters(w)
    out.append(averaged.module.weight.item())
print(json.dumps(out))
`;

/** The model's first weight at the end of each epoch, as hooks behind the average see it. */
async function train(
  hookOf: (
    model: Model,
  ) => torch.optim.Optimizer | InstanceType<typeof hooks.EMA> | InstanceType<typeof hooks.SWA>,
  maxEpoch: number,
  itersPerEpoch: number,
) {
  const model = new Model();
  const trained: number[] = [];
  const seen: number[] = [];
  const trainer = new NotingTrainer([], ({ iter }) => {
    model.move(iter);
    trained.push(model.first);
  });
  const hook = hookOf(model) as InstanceType<typeof hooks.EMA>;
  trainer.registerHooks([hook, new hooks.CallbackHook({ afterEpoch: () => void seen.push(model.first) })]);
  await trainer.trainLoop({ maxEpoch, itersPerEpoch });
  return { model, trained, seen, hook };
}

test('averages equal PyTorch’s, to the last bit', async (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const [ema, swa] = runPython<number[]>(PROGRAM, null);
  const one = await train((model) => new hooks.EMA(model, 0.9), 1, 6);
  assert.equal(one.model.first, ema);
  const optimizer = { paramGroups: [] };
  const two = await train((model) => new hooks.SWA({ model, optimizer, startEpoch: 0, lrFactor: 0 }), 6, 1);
  assert.equal(two.model.first, swa);
});

test('EMA: between epochs the model has the averages, in training its own weights', async () => {
  const { model, trained, seen } = await train((m) => new hooks.EMA(m, 0.5), 3, 2);
  // What training did does not depend on the average.
  const alone = await train((m) => new hooks.EMA(m, 0), 3, 2);
  assert.deepEqual(trained, alone.trained);
  let average = trained[0];
  const expected: number[] = [];
  trained.slice(1).forEach((w, i) => {
    average = 0.5 * average + 0.5 * w;
    if (i % 2 === 0) expected.push(average);
  });
  for (const [i, x] of seen.entries()) assert.ok(Math.abs(x - expected[i]) < 1e-6, `epoch ${i}: ${x}`);
  // Buffers are the model's own, and after training it has the averages.
  assert.deepEqual(model.bn.running_mean?.toArray(), [6, 6]);
  assert.equal(model.first, seen[2]);
});

test('a stopped run leaves the averages in the model, and its own weights in the state', async () => {
  const model = new Model();
  const hook = new hooks.EMA(model, 0.5);
  let own = 0;
  const trainer = new NotingTrainer([], ({ iter }) => {
    model.move(iter);
    own = model.first;
    if (iter === 2) trainer.requestStop('enough');
  });
  const saved: Record<string, unknown>[] = [];
  const save = (): void => void saved.push({ ...hook.stateDict(), first: model.first });
  trainer.registerHooks([hook, new hooks.CallbackHook({ afterTrain: save })]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 9 });
  const [{ exchanged, count, weights, first }] = saved as {
    exchanged: boolean;
    count: number;
    weights: Map<string, torch.Tensor>;
    first: number;
  }[];
  assert.deepEqual([exchanged, count], [true, 3]);
  assert.equal(weights.get('linear.weight')?.flatten().select(0, 0).item(), own);
  assert.notEqual(first, own);

  // Another process goes on.
  const resumed = new Model();
  resumed.loadStateDict(model.stateDict());
  const next = new hooks.EMA(resumed, 0.5);
  next.loadStateDict({ exchanged, count, weights });
  next.beforeEpoch();
  assert.equal(resumed.first, own);
  next.afterEpoch();
  assert.equal(resumed.first, first);
});

test('SWA: rates are constant from its start; the model is the average after the last epoch alone', async () => {
  const optimizer = { paramGroups: [{ lr: 0.1, initial_lr: 1 }, { lr: 0.2 }] };
  const rates: number[][] = [];
  const updates: number[] = [];
  const { trained, seen, model } = await train(
    (m) => {
      const hook = new hooks.SWA({
        model: m,
        optimizer,
        startEpoch: 2,
        period: 2,
        lrFactor: 0.5,
        updateBn: async () => void updates.push(m.first),
      });
      const { beforeEpoch } = hook;
      hook.beforeEpoch = () => {
        beforeEpoch.call(hook);
        rates.push(optimizer.paramGroups.map(({ lr }) => lr));
      };
      return hook;
    },
    6,
    1,
  );
  assert.deepEqual(rates.slice(1, 4), [
    [0.1, 0.2],
    [0.5, 0.1],
    [0.5, 0.05],
  ]);
  // Averaged after epochs 3 and 5.
  const average = (trained[3] + trained[5]) / 2;
  assert.deepEqual(seen.slice(0, 5), trained.slice(0, 5));
  assert.ok(Math.abs(seen[5] - average) < 1e-6, `${seen[5]} instead of ${average}`);
  assert.deepEqual(updates, [seen[5]]);
  assert.equal(model.first, seen[5]);
});

test('SWA goes on for more epochs from its own weights', async () => {
  const optimizer = { paramGroups: [] };
  const make = (model: Model) => new hooks.SWA({ model, optimizer, startEpoch: 1, lrFactor: 0 });
  const { model, trained, hook } = await train(make, 3, 1);
  const resumed = new Model();
  resumed.loadStateDict(model.stateDict());
  const next = make(resumed);
  next.loadStateDict(hook.stateDict());
  const trainer = new NotingTrainer([], () => void seen.push(resumed.first));
  const seen: number[] = [];
  trainer.registerHooks([next]);
  await trainer.trainLoop({ startEpoch: 3, maxEpoch: 4, itersPerEpoch: 1 });
  assert.equal(seen[0], trained[2]);
});

test('settings that cannot work are refused by name', async () => {
  const model = new Model();
  const optimizer = { paramGroups: [] };
  assert.throws(() => new hooks.EMA(model, 1), /SOLVER\.EMA\.MOMENTUM is 1/);
  assert.throws(
    () => new hooks.SWA({ model, optimizer, startEpoch: 1, lrFactor: 0, period: 0 }),
    /SOLVER\.SWA\.PERIOD is 0/,
  );
  await assert.rejects(
    train((m) => new hooks.SWA({ model: m, optimizer, startEpoch: 2, lrFactor: 0 }), 2, 1),
    /SOLVER\.SWA\.START_EPOCH is 2, but training ends after 2 epochs/,
  );
  const averages = new AveragedWeights(model);
  const weights = { 'linear.weight': torch.ones([2, 3]) };
  assert.throws(() => averages.loadStateDict({ count: 1, exchanged: false, weights }), /lack 'linear\.bias'/);
});

test('averaging leaves no tensors behind', () => {
  const model = new Model();
  const averages = new AveragedWeights(model);
  const one = (): void => {
    averages.update(0.5);
    averages.exchange();
    averages.exchange();
  };
  one();
  const before = torch.memoryStats().liveTensors;
  for (let i = 0; i < 10; i++) one();
  assert.equal(torch.memoryStats().liveTensors, before);
});
