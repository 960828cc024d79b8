import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallbackHook } from '../../src/engine/hooks/index.js';
import { SimpleTrainer, type StepOptimizer } from '../../src/engine/simple-trainer.js';
import * as torch from '../../src/torch/index.js';
import './support.js';

/** Fits y = 2x with one weight; `x` is a batch. */
class Slope extends torch.nn.Module<[{ x: torch.Tensor }], Record<string, torch.Tensor>> {
  readonly weight = new torch.nn.Parameter(torch.zeros([1]));
  readonly metrics = { accuracy: 0.5 };

  protected override forward({ x }: { x: torch.Tensor }): Record<string, torch.Tensor> {
    const error = x.mul(this.weight).sub(x.mul(2));
    return { loss_square: error.pow(2).mean(), loss_abs: error.abs().mean() };
  }
}

function* batches(count: number, disposed: { n: number }): Generator<{ x: torch.Tensor; dispose(): void }> {
  for (let i = 0; i < count; i++) {
    const x = torch.full([4], i + 1);
    const dispose = (): void => {
      disposed.n++;
      x.dispose();
    };
    yield { x, dispose };
  }
}

test('a step: gradients at afterBackward, weights still old; then the optimizer steps', async () => {
  const model = new Slope();
  const optimizer = new torch.optim.SGD([...model.parameters()], { lr: 0.01 });
  const disposed = { n: 0 };
  const trainer = new SimpleTrainer(model, batches(2, disposed), optimizer);
  const seen: [number, number][] = [];
  trainer.registerHooks([
    new CallbackHook({
      afterBackward: () =>
        void seen.push([model.weight.grad?.item() as number, model.weight.item() as number]),
    }),
  ]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 });
  // d/dw mean((xw − 2x)²) + mean|xw − 2x| at w = 0, x = 1: −4 − 1.
  assert.deepEqual(seen[0], [-5, 0]);
  assert.ok(Math.abs(seen[1][1] - 0.05) < 1e-7);
  assert.equal(disposed.n, 2);
  const latest = trainer.storage.latest();
  for (const name of ['total_loss', 'loss_square', 'loss_abs', 'accuracy', 'data_time'])
    assert.ok(latest.has(name), name);
  assert.equal(trainer.storage.history('total_loss').entries()[0][0], 4 + 2);
});

test('a single loss is not put twice', async () => {
  class One extends torch.nn.Module<[torch.Tensor], torch.Tensor> {
    readonly weight = new torch.nn.Parameter(torch.ones([1]));
    protected override forward(x: torch.Tensor): torch.Tensor {
      return x.mul(this.weight).sum();
    }
  }
  const model = new One();
  const trainer = new SimpleTrainer(
    model,
    [torch.ones([1])],
    new torch.optim.SGD([...model.parameters()], { lr: 0.1 }),
  );
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 3 });
  assert.deepEqual([...trainer.storage.histories().keys()], ['data_time', 'total_loss']);
});

test('a finite source of batches is begun anew; an empty one is an error', async () => {
  const model = new Slope();
  const optimizer = new torch.optim.SGD([...model.parameters()], { lr: 0.01 });
  const fixed = [{ x: torch.ones([1]) }, { x: torch.full([1], 2) }];
  const trainer = new SimpleTrainer(model, fixed, optimizer);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 5 });
  const empty = new SimpleTrainer(model, [] as { x: torch.Tensor }[], optimizer);
  await assert.rejects(empty.trainLoop({ maxEpoch: 1, itersPerEpoch: 1 }), /the data loader is empty/);
});

test('steps leave no tensors behind', async () => {
  const model = new Slope();
  const optimizer = new torch.optim.Adam([...model.parameters()], { lr: 0.01 });
  const trainer = new SimpleTrainer(model, batches(50, { n: 0 }), optimizer);
  const live: number[] = [];
  trainer.registerHooks([
    new CallbackHook({ beforeStep: () => void live.push(torch.memoryStats().liveTensors) }),
  ]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 50 });
  // Fewer, when what earlier tests left is collected in between.
  assert.ok(live[49] <= live[5], `${live[5]} tensors, then ${live[49]}`);
});

test('an infinite loss changes no weight, whatever the optimizer', async () => {
  const optimizers: Record<string, (params: torch.Tensor[]) => StepOptimizer> = {
    Adam: (params) => new torch.optim.Adam(params),
    RMSprop: (params) => new torch.optim.RMSprop(params),
    own: ([w]) => ({ zeroGrad: () => {}, step: () => torch.noGrad(() => void w.sub_(1)) }),
  };
  for (const [name, make] of Object.entries(optimizers)) {
    const model = new Slope();
    const optimizer = make([...model.parameters()]);
    const xs = [1, Number.POSITIVE_INFINITY].map((x) => ({ x: torch.full([4], x) }));
    const trainer = new SimpleTrainer(model, xs, optimizer);
    const seen: unknown[] = [];
    const look = (): void => void seen.push(model.weight.item());
    trainer.registerHooks([new CallbackHook({ afterStep: look, afterTrain: look })]);
    await assert.rejects(
      trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 }),
      /loss_square is (NaN|Infinity), loss_abs is (NaN|Infinity) at iteration 1 .*weights are as they were/,
      name,
    );
    assert.ok(seen[0] !== 0 && seen[1] === seen[0], `${name}: ${seen}`);
  }
});

test('a batch is freed when its step fails', async () => {
  const model = new Slope();
  const disposed = { n: 0 };
  const optimizer = {
    zeroGrad: () => {},
    step: () => {
      throw new Error('no step');
    },
  };
  const trainer = new SimpleTrainer(model, batches(1, disposed), optimizer);
  await assert.rejects(trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 1 }), /no step/);
  assert.equal(disposed.n, 1);
});
