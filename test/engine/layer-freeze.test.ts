import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LayerFreeze, type LayerFreezeOptions } from '../../src/engine/hooks/index.js';
import { Freezing } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';
import { NotingTrainer } from './support.js';

type Tensor = torch.Tensor;

class Model extends torch.nn.Module {
  readonly backbone = new torch.nn.Sequential(new torch.nn.Linear(3, 4), new torch.nn.BatchNorm1d(4));
  readonly heads = new torch.nn.Linear(4, 2);

  protected override forward(x: Tensor): Tensor {
    return this.heads.call(this.backbone.call(x));
  }
}

/** A run of `epochs` times two iterations with the backbone frozen for the first three. */
async function run(options: Partial<LayerFreezeOptions>, { startEpoch = 0, evaluateAfter = 0 } = {}) {
  const model = new Model();
  const [linear, bn] = [model.backbone.at(0) as torch.nn.Linear, model.backbone.at(1) as torch.nn.BatchNorm];
  const freezing = new Freezing([], 3);
  const seen: string[] = [];
  const trainer = new NotingTrainer([], ({ iter }) => {
    const x = torch.randn([6, 3]);
    model.call(x).square().sum().backward();
    const gradient = linear.weight.grad === null ? 'none' : 'some';
    seen.push(`${iter}: ${bn.training ? 'train' : 'eval'}, gradient ${gradient}, ${freezing.active}`);
    assert.notEqual(model.heads.weight.grad, null);
    model.zeroGrad();
    if (iter === evaluateAfter) {
      model.eval();
      model.train();
    }
  });
  const hook = new LayerFreeze({
    model,
    freezes: (name) => name.startsWith('backbone.'),
    modules: [model.backbone],
    iterations: 3,
    freezing,
    ...options,
  });
  trainer.registerHooks([hook]);
  await trainer.trainLoop({ startEpoch, maxEpoch: 3, itersPerEpoch: 2 });
  return { seen, model, bn, hook };
}

test('frozen layers get no gradients and are in evaluation mode, then are trained as before', async () => {
  const { seen, model, bn } = await run({});
  assert.deepEqual(seen, [
    '0: eval, gradient none, true',
    '1: eval, gradient none, true',
    '2: eval, gradient none, true',
    '3: train, gradient some, false',
    '4: train, gradient some, false',
    '5: train, gradient some, false',
  ]);
  assert.equal(bn.num_batches_tracked?.item(), 3);
  assert.ok([...model.parameters()].every(({ requiresGrad }) => requiresGrad));
});

test('a resumed run is frozen by the number of its iteration', async () => {
  const { seen } = await run({}, { startEpoch: 1 });
  assert.deepEqual(seen.slice(0, 2), ['2: eval, gradient none, true', '3: train, gradient some, false']);
  const { seen: late } = await run({}, { startEpoch: 2 });
  assert.deepEqual(late[0], '4: train, gradient some, false');
});

test('as FastReID does it, an evaluation ends evaluation mode; a checkpoint knows', async () => {
  const { seen, hook } = await run({ once: true });
  assert.deepEqual(seen.slice(0, 4), [
    '0: eval, gradient none, true',
    '1: train, gradient none, true',
    '2: train, gradient none, true',
    '3: train, gradient some, false',
  ]);
  assert.deepEqual(hook.stateDict(), { released: false });
});

test('the state of a frozen run of that kind survives a checkpoint', async () => {
  const states: unknown[] = [];
  const model = new Model();
  const make = (): LayerFreeze =>
    new LayerFreeze({
      model: model.train(),
      freezes: (name) => name.startsWith('backbone.'),
      modules: [model.backbone],
      iterations: 9,
      once: true,
    });
  const first = make();
  const trainer = new NotingTrainer([], ({ iter }) => {
    if (iter === 1) model.eval().train();
    states.push(first.stateDict());
  });
  trainer.registerHooks([first]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 });
  assert.deepEqual(states, [{ released: false }, { released: true }]);
  model.requiresGrad_(true);
  for (const released of [false, true]) {
    const second = make();
    second.loadStateDict({ released });
    const modes: boolean[] = [];
    const resumed = new NotingTrainer([], () => void modes.push(model.backbone.training));
    resumed.registerHooks([second]);
    await resumed.trainLoop({ startEpoch: 1, maxEpoch: 2, itersPerEpoch: 2 });
    assert.deepEqual(modes, [released, released]);
    model.requiresGrad_(true);
  }
});

test('parameters that never learn stay so; freezing everything is refused', async () => {
  const model = new Model();
  model.backbone.at(0).requiresGrad_(false);
  const trainer = new NotingTrainer();
  const options = { model, modules: [model.backbone], iterations: 1 };
  trainer.registerHooks([new LayerFreeze({ ...options, freezes: (name) => name.startsWith('backbone.') })]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 });
  const learns = [...model.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name);
  assert.deepEqual(learns, ['backbone.1.weight', 'backbone.1.bias', 'heads.weight', 'heads.bias']);
  const all = new NotingTrainer();
  all.registerHooks([new LayerFreeze({ ...options, freezes: () => true })]);
  await assert.rejects(
    all.trainLoop({ maxEpoch: 1, itersPerEpoch: 1 }),
    /FREEZE_LAYERS freezes every parameter/,
  );
});
