import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildModel, FeatureMemory, MoCo, setBatchGroup } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { deviation } from '../support/closeness.js';
import { fill, fillModel, images } from '../support/fill.js';
import { referenceCfg } from '../support/golden.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const R18 = { 'MODEL.BACKBONE.DEPTH': '18x', 'MODEL.BACKBONE.FEAT_DIM': 512, 'MODEL.QUEUE_SIZE': 8 };
const build = (options: Record<string, unknown> = {}) =>
  buildModel(referenceCfg({ ...R18, 'MODEL.META_ARCHITECTURE': 'MoCo', ...options }), () => {});
const ids = (...values: number[]) => torch.tensor(values, { dtype: torch.int64 });
const labels = (memory: FeatureMemory) =>
  (memory.queue_label.toArray() as (number | bigint)[][])[0].map(Number);
const pointer = (memory: FeatureMemory) => Number(memory.queue_ptr.item());
const softplus = (x: number) => Math.log1p(Math.exp(x));

test('the state dict is Baseline’s and the queue: random unit vectors of identity 0', () => {
  torch.manualSeed(4);
  const model = build({ 'MODEL.HEADS.EMBEDDING_DIM': 6, 'MODEL.HEADS.NECK_FEAT': 'after' });
  torch.manualSeed(4);
  const plain = build({ 'MODEL.META_ARCHITECTURE': 'Baseline', 'MODEL.HEADS.EMBEDDING_DIM': 6 });
  const state = model.stateDict();
  const baseline = plain.stateDict();
  assert.deepEqual(
    [...state.keys()],
    [...baseline.keys(), 'memory.queue', 'memory.queue_label', 'memory.queue_ptr'],
  );
  // The memory is drawn last, so that a seed gives the same network with it and without.
  for (const [key, tensor] of baseline) assert.ok(torch.equal(tensor, state.get(key) as torch.Tensor), key);
  assert.ok(model instanceof MoCo);
  const { memory } = model;
  assert.deepEqual(memory.queue.shape, [6, 8]);
  assert.ok(deviation(memory.queue.pow(2).sum([0]), torch.ones([8])) < 1e-6);
  assert.deepEqual([memory.queue_label.shape, memory.queue_ptr.shape], [[1, 8], [1]]);
  assert.deepEqual([labels(memory), pointer(memory)], [Array(8).fill(0), 0]);
});

test('evaluation is Baseline’s and leaves the memory alone', () => {
  const model = build() as MoCo;
  const plain = build({ 'MODEL.META_ARCHITECTURE': 'Baseline' });
  fillModel(model, 1);
  fillModel(plain, 1);
  const before = model.memory.queue.clone();
  const batch = images('moco', 2, 64, 32);
  assert.equal(deviation(model.eval().embed(batch), plain.eval().embed(batch)), 0);
  assert.equal(deviation(model.memory.queue, before), 0);
});

test('each batch replaces the oldest features; the queue wraps around where batches do not divide it', () => {
  const memory = new FeatureMemory({ dim: 4, size: 8 });
  const written = [5, 3, 1, 8].map((n, i) => ({
    features: fill(`batch ${i}`, [n, 4]),
    targets: ids(...Array.from({ length: n }, (_, j) => 10 * i + j)),
  }));
  for (const { features, targets } of written.slice(0, 2)) memory.call(features, targets);
  assert.deepEqual([labels(memory), pointer(memory)], [[0, 1, 2, 3, 4, 10, 11, 12], 0]);
  const all = torch.cat(
    written.slice(0, 2).map(({ features }) => features),
    0,
  );
  const unit = all.div(all.pow(2).sum([1], true).sqrt());
  assert.ok(deviation(memory.queue.t(), unit) < 1e-6);
  memory.call(written[2].features, written[2].targets);
  assert.deepEqual([labels(memory), pointer(memory)], [[20, 1, 2, 3, 4, 10, 11, 12], 1]);
  memory.call(written[3].features, written[3].targets);
  assert.deepEqual([labels(memory), pointer(memory)], [[37, 30, 31, 32, 33, 34, 35, 36], 1]);
  assert.ok(memory.queue.isContiguous() && !memory.queue.requiresGrad);
});

/** A memory of four, all written: identity 1 along x, 2 along y, 1 along x + y, 2 along x. */
function written(self: 'written' | 'first'): FeatureMemory {
  const memory = new FeatureMemory({ dim: 2, size: 4, self });
  memory.call(torch.tensor([[2, 0], [0, 3], [1, 1], [4, 0]]), ids(1, 2, 1, 2)); // biome-ignore format: a table
  return memory;
}

test('a sample is no positive of its own: at the column it was written to', () => {
  const memory = written('written');
  memory.call(torch.tensor([[1, 0]]), ids(1));
  // Identity 2 along y, now in column 1: its positive is column 3 (cosine 0), negatives are 0 and 2.
  const loss = memory.call(torch.tensor([[0, 1]]), ids(2));
  const negatives = Math.log(Math.exp(32 * 0.25) + Math.exp(32 * (Math.SQRT1_2 + 0.25)));
  assert.ok(Math.abs(Number(loss.item()) - softplus(0 + negatives)) < 1e-4, String(loss.item()));
});

test('FastReID’s way: at the column of its number in the batch', () => {
  const memory = written('first');
  memory.call(torch.tensor([[1, 0]]), ids(1));
  // Itself, in column 1, now is a positive (cosine 1), beside column 3.
  const loss = memory.call(torch.tensor([[0, 1]]), ids(2));
  const positives = Math.log(Math.exp(-32) + Math.exp(0));
  const negatives = Math.log(Math.exp(32 * 0.25) + Math.exp(32 * (Math.SQRT1_2 + 0.25)));
  assert.ok(Math.abs(Number(loss.item()) - softplus(positives + negatives)) < 1e-4, String(loss.item()));
  // The same batch at the very beginning makes no difference.
  const features = fill('first batch', [3, 2]);
  const losses = (['first', 'written'] as const).map((self) => {
    torch.manualSeed(1);
    return new FeatureMemory({ dim: 2, size: 4, self }).call(features, ids(1, 1, 2));
  });
  assert.equal(deviation(losses[0], losses[1]), 0);
});

test('a row without any positive, or without any negative, adds nothing', () => {
  const memory = new FeatureMemory({ dim: 2, size: 4 });
  const features = torch.tensor([[1, 0.5]]).requiresGrad_();
  const loss = memory.call(features, ids(7));
  loss.backward();
  assert.equal(loss.item(), 0);
  assert.deepEqual(features.grad?.toArray(), [[0, 0]]);
  const uniform = new FeatureMemory({ dim: 2, size: 4 });
  assert.equal(uniform.call(torch.tensor([[1, 0.5]]), ids(0)).item(), 0);
});

const REFERENCE = `
import json, sys, torch
from torch.nn import functional as F
torch.set_num_threads(1)
def run(asked, self, ranks):
    size = asked["size"]
    queue, labels, start, answer = torch.tensor(asked["queue"]), torch.zeros(size, dtype=torch.long), 0, []
    for features, targets in asked["batches"]:
        x, t = torch.tensor(features, requires_grad=True), torch.tensor(targets)
        unit = F.normalize(x)
        columns = (start + torch.arange(len(x))) % size
        queue[:, columns], labels[columns] = unit.detach().T, t
        start = (start + len(x)) % size
        losses = []
        for part in torch.arange(len(x)).chunk(ranks):
            same = t[part, None] == labels[None, :]
            own = F.one_hot(torch.arange(len(part)) if self == "first" else columns[part], size)
            positive, negative = (same & (own == 0)).float(), (~same).float()
            cosines = unit[part] @ queue
            p = -32 * (cosines * positive) - 99999999.0 * (1 - positive)
            n = 32 * (cosines * negative + 0.25) - 99999999.0 * (1 - negative)
            losses.append(F.softplus(p.logsumexp(1) + n.logsumexp(1)).mean())
        sum(losses).backward()
        answer.append({"losses": [loss.item() for loss in losses], "grad": x.grad.tolist()})
    return {"steps": answer, "queue": queue.tolist(), "labels": labels.tolist()}
asked = json.load(sys.stdin)
print(json.dumps({f"{self} {ranks}": run(asked, self, ranks) for self in ("written", "first") for ranks in (1, 2)}))
`;

interface Expected {
  steps: { losses: number[]; grad: number[][] }[];
  queue: number[][];
  labels: number[];
}

const BATCHES = [
  [0, 0, 1, 1],
  [1, 2, 1, 2],
  [3, 3, 3, 3],
  [0, 1, 2, 3],
  [2, 2, 0, 0],
].map((targets, i) => ({ features: fill(`memory ${i}`, [4, 6]), targets }));

const SIZE = 10;

/** A memory that begins as the reference's. */
function begun(self: 'written' | 'first'): FeatureMemory {
  const memory = new FeatureMemory({ dim: 6, size: SIZE, self });
  memory.queue.copy_(fill('queue', [6, SIZE]));
  return memory;
}

let answers: Record<string, Expected> | undefined;

function reference(self: string, ranks: number): Expected {
  answers ??= runPython<Record<string, Expected>>(REFERENCE, {
    queue: begun('first').queue.toArray(),
    size: SIZE,
    batches: BATCHES.map(({ features, targets }) => [features.toArray(), targets]),
  });
  return answers[`${self} ${ranks}`];
}

test('losses, gradients and the queue have the bits of PyTorch’s', {
  skip: pythonTorch() ? false : pythonTorchMissing,
}, () => {
  torch.setNumThreads(1);
  for (const self of ['written', 'first'] as const) {
    const memory = begun(self);
    const expected = reference(self, 1);
    for (const [i, { features, targets }] of BATCHES.entries()) {
      const x = features.clone().requiresGrad_();
      const loss = memory.call(x, ids(...targets));
      loss.backward();
      const { losses, grad } = expected.steps[i];
      assert.equal(loss.item(), losses[0], `${self} ${i}`);
      assert.equal(deviation(x.grad as torch.Tensor, torch.tensor(grad)), 0, `${self} ${i}`);
    }
    assert.deepEqual(memory.queue.toArray(), expected.queue);
    assert.deepEqual(labels(memory), expected.labels);
  }
});

/** A batch as two processes have it, which find what the other gives: features and targets of each. */
function asTwo(memories: FeatureMemory[], x: torch.Tensor, targets: number[]): number[] {
  const unit = x.detach().div(x.detach().pow(2).sum([1], true).sqrt());
  const whole = [unit.view([2, 2, -1]), ids(...targets).view([2, 2])];
  return memories.map((memory, rank) => {
    let call = 0;
    const gather = (own: torch.Tensor): torch.Tensor => {
      const all = whole[call++];
      assert.ok(deviation(own, all.select(0, rank)) < 1e-6);
      return all;
    };
    setBatchGroup(memory, { rank, gather });
    const loss = memory.call(x.narrow(0, 2 * rank, 2), ids(...targets.slice(2 * rank, 2 * rank + 2)));
    loss.backward();
    return Number(loss.item());
  });
}

test('processes remember the features of all, as FastReID’s gather', {
  skip: pythonTorch() ? false : pythonTorchMissing,
}, () => {
  for (const self of ['written', 'first'] as const) {
    const memories = [begun(self), begun(self)];
    const expected = reference(self, 2);
    for (const [i, { features, targets }] of BATCHES.entries()) {
      const x = features.clone().requiresGrad_();
      const losses = asTwo(memories, x, targets);
      for (const [rank, loss] of losses.entries()) {
        assert.ok(Math.abs(loss - expected.steps[i].losses[rank]) < 1e-5, `${self}, step ${i}, rank ${rank}`);
      }
      assert.ok(deviation(x.grad as torch.Tensor, torch.tensor(expected.steps[i].grad)) < 1e-5);
    }
    for (const memory of memories) {
      assert.ok(deviation(memory.queue, torch.tensor(expected.queue)) < 1e-6);
      assert.deepEqual(labels(memory), expected.labels);
    }
  }
});

test('training adds loss_mb to the losses, and its gradient reaches the backbone', () => {
  const model = build({ 'MODEL.LOSSES.NAME': ['CrossEntropyLoss'] });
  fillModel(model, 1);
  const losses = model.losses({ images: images('moco', 4, 64, 32), targets: ids(0, 0, 1, 1) });
  assert.deepEqual(Object.keys(losses), ['loss_cls', 'loss_mb']);
  losses.loss_mb.backward();
  const gradient = new Map(model.namedParameters()).get('backbone.conv1.weight')?.grad;
  assert.ok(Number(gradient?.abs().sum().item()) > 0);
  assert.ok(model.metrics.cls_accuracy >= 0);
  assert.equal(pointer((model as MoCo).memory), 4);
});

test('what does not go together is refused, with the way out', () => {
  const batch = { images: images('moco', 4, 64, 32), targets: ids(0, 0, 1, 1) };
  assert.throws(() => build({ 'MODEL.QUEUE_SIZE': 0 }), /MODEL.QUEUE_SIZE is 0/);
  assert.throws(
    () => build({ 'MODEL.QUEUE_SIZE': 3 }).losses(batch),
    /4 images does not fit.*of 3; raise MODEL/,
  );
  const narrow = { 'MODEL.HEADS.EMBEDDING_DIM': 16 };
  assert.throws(
    () => build({ ...narrow, 'MODEL.HEADS.NECK_FEAT': 'before' }).losses(batch),
    /features of width 16 .* gives \[4, 512\].*NECK_FEAT must be 'after'/,
  );
  build({ ...narrow, 'MODEL.HEADS.NECK_FEAT': 'after' }).losses(batch);
  const memory = new FeatureMemory({ dim: 2, size: 4 });
  assert.throws(() => memory.call(torch.ones([2, 2]), ids(1)), /2 features need as many targets, got \[1\]/);
});

test('the state of a longer queue leaves a pointer that a shorter one can use', () => {
  const long = new FeatureMemory({ dim: 2, size: 8 });
  long.call(fill('long', [7, 2]), ids(1, 2, 3, 4, 5, 6, 7));
  const short = new FeatureMemory({ dim: 2, size: 4 });
  const report = short.loadStateDict(long.stateDict(), { strict: false });
  assert.deepEqual(report.loaded, ['queue_ptr']);
  short.call(fill('short', [2, 2]), ids(8, 9));
  assert.deepEqual([labels(short), pointer(short)], [[9, 0, 0, 8], 1]);
});
