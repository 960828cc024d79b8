import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hooks, trainedBatchNorms, updateBnStats } from '../../src/engine/index.js';
import { GhostBatchNorm } from '../../src/modeling/layers/norm.js';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';
import { NotingTrainer } from './support.js';

// The order of sums depends on it.
torch.setNumThreads(1);

type Tensor = torch.Tensor;
interface Batch {
  images: Tensor;
  targets?: Tensor;
  dispose?: () => void;
}

/** Two layers, one behind the other, a queue that forward writes, and a frozen branch. */
class Model extends torch.nn.Module<[Batch], Tensor> {
  readonly bn1 = new torch.nn.BatchNorm1d(3);
  readonly bn2 = new torch.nn.BatchNorm1d(3, { momentum: 0.3 });
  readonly fixed = new torch.nn.BatchNorm1d(3).eval();
  readonly encoder = new torch.nn.Parameter(torch.ones([2]), false);
  declare queue: Tensor;
  readonly seen: unknown[] = [];

  constructor() {
    super();
    this.registerBuffer('queue', torch.zeros([1]));
  }

  protected override forward({ images, targets }: Batch): Tensor {
    assert.equal(torch.isGradEnabled(), false);
    this.seen.push(targets?.toArray());
    this.queue.add_(1);
    this.encoder.mul_(2);
    return this.bn2.call(this.bn1.call(this.fixed.call(images)).relu());
  }
}

/** 5 × 3, anything but evenly distributed. */
function images(i: number): Tensor {
  const x = torch.arange(15, { dtype: torch.float64 }).reshape([5, 3]);
  return x
    .mul(7)
    .add(i * 13)
    .remainder(17)
    .div(5)
    .float();
}

async function* batches(count: number, disposed: number[] = []): AsyncGenerator<Batch> {
  for (let i = 0; i < count; i++) {
    const targets = torch.tensor([7n, 8n, 9n, 10n, 11n]);
    yield { images: images(i), targets, dispose: () => void disposed.push(i) };
  }
}

const PROGRAM = `
import json, torch
torch.set_num_threads(1)
bn1, bn2 = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3, momentum=0.3)
fixed = torch.nn.BatchNorm1d(3).eval()
layers = [bn1, bn2]
for bn in layers:
    bn.momentum = 1.0
mean = [torch.zeros(3) for _ in layers]
var = [torch.zeros(3) for _ in layers]
with torch.no_grad():
    for n in range(4):
        x = torch.arange(15, dtype=torch.float64).reshape(5, 3)
        x = ((x * 7 + n * 13) % 17 / 5).float()
        bn2(bn1(fixed(x)).relu())
        for i, bn in enumerate(layers):
            mean[i] += (bn.running_mean - mean[i]) / (n + 1)
            var[i] += (bn.running_var - var[i]) / (n + 1)
print(json.dumps([t.double().tolist() for pair in zip(mean, var) for t in pair]))
`;

const statistics = (model: Model): unknown =>
  [model.bn1, model.bn2].flatMap((bn) => [bn.running_mean?.toArray(), bn.running_var?.toArray()]);

test('the plain average of the statistics of batches, to the last bit', async (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const model = new Model();
  model.bn1.running_mean?.fill_(5);
  const disposed: number[] = [];
  await updateBnStats(model, batches(9, disposed), 4);
  assert.deepEqual(statistics(model), runPython(PROGRAM, null));
  assert.deepEqual(disposed, [0, 1, 2, 3]);
});

test('all else is as it was: momenta, modes, queues, frozen weights; targets are 0', async () => {
  const model = new Model();
  await updateBnStats(model, batches(9), 2);
  assert.deepEqual([model.bn1.momentum, model.bn2.momentum], [0.1, 0.3]);
  assert.deepEqual([model.training, model.fixed.training], [true, false]);
  assert.deepEqual([model.queue.toArray(), model.encoder.toArray()], [[0], [1, 1]]);
  assert.deepEqual(model.fixed.running_mean?.toArray(), [0, 0, 0]);
  assert.deepEqual(model.seen, [
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
  ]);
  assert.deepEqual(trainedBatchNorms(model), [model.bn1, model.bn2]);
});

test('too few batches, and a batch that fails: an error, and momenta as before', async () => {
  const model = new Model();
  await assert.rejects(
    updateBnStats(model, batches(2), 3),
    /of 3 batches were asked for, but there are only 2/,
  );
  async function* bad(): AsyncGenerator<Batch> {
    yield { images: torch.ones([1, 2]) };
  }
  await assert.rejects(updateBnStats(model, bad(), 1));
  assert.deepEqual([model.bn1.momentum, model.bn2.momentum], [0.1, 0.3]);
});

test('GhostBN takes part', async () => {
  class Ghost extends torch.nn.Module<[Batch], Tensor> {
    readonly bn = new GhostBatchNorm(2, { splits: 2 });
    protected override forward({ images: x }: Batch): Tensor {
      return this.bn.call(x);
    }
  }
  const model = new Ghost();
  const x = torch.arange(16).float().reshape([4, 2, 2, 1]);
  async function* one(): AsyncGenerator<Batch> {
    yield { images: x };
  }
  await updateBnStats(model, one(), 1);
  assert.deepEqual(model.bn.running_mean?.toArray(), x.mean([0, 2, 3]).toArray());
});

test('PreciseBN computes them after the last epoch, before the hooks behind it', async () => {
  const model = new Model();
  const means: unknown[] = [];
  const trainer = new NotingTrainer();
  trainer.registerHooks([
    new hooks.PreciseBN(model, batches(9), 3),
    new hooks.CallbackHook({ afterEpoch: () => void means.push(model.bn1.running_mean?.toArray()) }),
  ]);
  await trainer.trainLoop({ maxEpoch: 2, itersPerEpoch: 1 });
  const expected = new Model();
  await updateBnStats(expected, batches(3), 3);
  assert.deepEqual(means, [[0, 0, 0], expected.bn1.running_mean?.toArray()]);
});
