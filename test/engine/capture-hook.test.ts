import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DefaultTrainer } from '../../src/engine/default-trainer.js';
import { CaptureHook } from '../../src/engine/hooks/index.js';
import { SimpleTrainer } from '../../src/engine/simple-trainer.js';
import * as torch from '../../src/torch/index.js';
import './support.js';
import { tinyConfig, writeTinySet } from './tiny.js';

torch.setNumThreads(1);

class Model extends torch.nn.Module {
  readonly first = new torch.nn.Linear(2, 3);
  readonly second = new torch.nn.Linear(3, 1);
  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.second.call(this.first.call(x).relu_()).square().sum();
  }
}

function trainer(): [SimpleTrainer<torch.Tensor>, Model] {
  torch.manualSeed(1);
  const model = new Model();
  const batches = [1, 2, 3, 4].map((n) => torch.full([2, 2], n));
  const optimizer = new torch.optim.SGD([...model.parameters()], { lr: 0.001 });
  return [new SimpleTrainer<torch.Tensor>(model, batches, optimizer), model];
}

test('only the chosen iterations are captured, before the optimizer steps', async () => {
  const [train, model] = trainer();
  const hook = new CaptureHook({
    model,
    layers: 'first',
    what: ['input', 'gradOutput', 'gradParameters'],
    to: 'memory',
    at: (iteration) => iteration === 0 || iteration === 2,
  });
  train.registerHooks([hook]);
  await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 4 });
  const steps = hook.take();
  assert.deepEqual(
    steps.map(({ iteration, values }) => [iteration, ...values.map(({ what, part }) => `${what} ${part}`)]),
    [0, 2].map((i) => [i, 'input 0', 'gradOutput 0', 'gradParameters bias', 'gradParameters weight']),
  );
  for (const { iteration, values } of steps) {
    const [input, gradOutput, , weight] = values.map(({ value }) => value);
    assert.deepEqual(input!.tolist(), torch.full([2, 2], iteration + 1).tolist());
    // The weight's gradient is the product of the two others.
    assert.ok(gradOutput!.t().mm(input!).allclose(weight!));
  }
  assert.deepEqual(hook.take(), []);
});

test('safetensors and TensorBoard', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-capture-'));
  try {
    const [train, model] = trainer();
    train.registerHooks([
      new CaptureHook({
        model,
        layers: ['first', 'second'],
        reduce: ['mean', 'histogram', 'channelMean'],
        at: 2,
        to: ['safetensors', 'tensorboard'],
        folder,
      }),
    ]);
    await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 4 });
    assert.deepEqual(readdirSync(folder).sort(), ['iter_0000000.safetensors', 'iter_0000002.safetensors']);
    const file = torch.loadSafetensors(join(folder, 'iter_0000002.safetensors'));
    assert.equal(file.metadata.get('iteration'), '2');
    assert.deepEqual([...file.keys()].sort(), [
      'first/output/channelMean',
      'first/output/histogram',
      'first/output/mean',
      'second/output/channelMean',
      'second/output/histogram',
      'second/output/mean',
    ]);
    const { storage } = train;
    const mean = storage.history('capture/first/output/mean').entries();
    assert.deepEqual(
      mean.map(([, iteration]) => iteration),
      [0, 2],
    );
    assert.ok(Math.abs(mean[1]![0] - Number(file.get('first/output/mean')!.item())) < 1e-6);
    const histograms = storage.histograms().filter(({ iteration }) => iteration === 2);
    assert.deepEqual(
      histograms.map(({ name, histogram }) => [name, histogram.count]),
      [
        ['capture/first/output/histogram', 6],
        ['capture/first/output/channelMean', 3],
        ['capture/second/output/histogram', 2],
        ['capture/second/output/channelMean', 1],
      ],
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('after a failed step the model is left without hooks', async () => {
  const [train, model] = trainer();
  const hook = new CaptureHook({ model, layers: 'first', to: 'memory', at: 1 });
  const failing = model.second.registerForwardPreHook(() => {
    throw new Error('stop here');
  });
  train.registerHooks([hook]);
  await assert.rejects(train.trainLoop({ maxEpoch: 1, itersPerEpoch: 4 }), /stop here/);
  failing.remove();
  model.call(torch.ones([1, 2]));
  assert.deepEqual(hook.take(), []);
});

test('settings that cannot be are refused', () => {
  const model = new Model();
  assert.throws(() => new CaptureHook({ model, layers: 'third' }), /no sub-module 'third'/);
  assert.throws(() => new CaptureHook({ model, layers: 'first', at: 0 }), /at is 0/);
  assert.throws(() => new CaptureHook({ model, layers: 'first', to: 'safetensors' }), /needs a folder/);
});

test('the default trainer writes what a hook that was added later puts, at the last iteration too', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-capture-'));
  try {
    process.env.FASTREID_DATASETS = folder;
    await writeTinySet(folder);
    const output = join(folder, 'out');
    const train = new DefaultTrainer(tinyConfig(output, ['SOLVER.MAX_EPOCH', 1]), { seed: 1 });
    const { model } = train;
    train.registerHooks([
      new CaptureHook({
        model,
        layers: 'backbone.conv*',
        reduce: 'norm',
        at: (i) => i === train.maxIter - 1,
      }),
    ]);
    try {
      await train.train();
    } finally {
      await train.close();
    }
    const last = readFileSync(join(output, 'metrics.json'), 'utf8').trim().split('\n').at(-1)!;
    const line = JSON.parse(last) as Record<string, number>;
    assert.ok(line['capture/backbone.conv1/output/norm']! > 0);
    assert.ok(line['capture/backbone.conv2/output/norm']! > 0);
    assert.equal(line.iteration, train.maxIter - 1);
    assert.ok(readdirSync(output).some((name) => name.startsWith('events.out.tfevents.')));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
