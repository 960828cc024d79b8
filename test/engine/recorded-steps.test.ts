import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { AMPTrainer } from '../../src/engine/amp-trainer.js';
import {
  DefaultTrainer,
  hooks,
  NonFiniteGradientError,
  NonFiniteLossError,
  SimpleTrainer,
} from '../../src/engine/index.js';
import { checkRecordable } from '../../src/engine/recorded-steps.js';
import * as torch from '../../src/torch/index.js';
import { FakeRecorder } from '../support/fake_recorder.js';
import { tinyConfig } from './tiny.js';
import { tinyFolder } from './tiny-folder.js';
import './support.js';

const folder = tinyFolder('recorded');
torch.setNumThreads(1);

/** Trains the tiny model, with steps one call at a time or recorded; weights and losses at the end. */
async function train(name: string, options: unknown[], recorder?: FakeRecorder) {
  class Trainer extends DefaultTrainer {
    protected override buildStepper(): SimpleTrainer {
      const stepper = super.buildStepper();
      if (recorder) stepper.recordSteps({ device: 'cpu', recorder });
      // Both read learning rates as float32.
      else this.optimizer.capturable = true;
      return stepper;
    }
  }
  torch.manualSeed(2);
  const cfg = tinyConfig(join(folder, `${name}-${recorder ? 'recorded' : 'usual'}`), options);
  const trainer = new Trainer(cfg, { seed: 2 });
  await trainer.train();
  await trainer.close();
  const weights = Object.fromEntries([...trainer.model.stateDict()].map(([key, t]) => [key, t.toArray()]));
  const figures = ['total_loss', 'loss_cls', 'loss_triplet', 'cls_accuracy', 'lr'].map((key) => [
    key,
    trainer.storage.history(key).entries(),
  ]);
  return { weights, figures };
}

const CASES: Record<string, unknown[]> = {
  Adam: [],
  'SGD, clipped, averaged': [
    ...['SOLVER.OPT', 'SGD', 'SOLVER.NESTEROV', true, 'SOLVER.CLIP_GRADIENTS.ENABLED', true],
    ...['SOLVER.EMA.ENABLED', true],
  ],
  'float16, soft margin': [
    ...['SOLVER.AMP.ENABLED', true, 'SOLVER.AMP.DTYPE', 'float16', 'MODEL.LOSSES.TRI.MARGIN', 0],
    ...['SOLVER.CLIP_GRADIENTS.ENABLED', true],
  ],
  'bfloat16, AdamW': ['SOLVER.AMP.ENABLED', true, 'SOLVER.AMP.DTYPE', 'bfloat16', 'SOLVER.OPT', 'AdamW'],
};
for (const [name, options] of Object.entries(CASES)) {
  test(`recorded steps train as usual ones do: ${name}`, async () => {
    const recorder = new FakeRecorder();
    const [found, expected] = [await train(name, options, recorder), await train(name, options)];
    assert.deepEqual(found, expected);
    assert.equal(recorder.log.filter((what) => what === 'replay').length, 9);
  });
}

test('layers that are frozen for a while: the recording is made anew when they learn', async () => {
  const options = ['MODEL.FREEZE_LAYERS', ['backbone.conv1', 'backbone.bn1'], 'SOLVER.FREEZE_ITERS', 6];
  const recorder = new FakeRecorder();
  const [found, expected] = [await train('frozen', options, recorder), await train('frozen', options)];
  assert.deepEqual(found, expected);
  const each = ['warm-up', 'warm-up', 'warm-up', 'record', 'replay', 'replay', 'replay'];
  assert.deepEqual(recorder.log, [...each, 'reset', ...each]);
});

class One extends torch.nn.Module<[torch.Tensor], torch.Tensor> {
  readonly weight = new torch.nn.Parameter(torch.ones([1]));
  protected override forward(x: torch.Tensor): torch.Tensor {
    return x.mul(this.weight).sum();
  }
}

test('a loss that is not finite changes no weight, recorded or not', async () => {
  const model = new One();
  const optimizer = new torch.optim.Adam([...model.parameters()], { lr: 0.5 });
  const batches = [1, 1, 1, 1, Number.NaN].map((x) => torch.full([1], x));
  const trainer = new SimpleTrainer(model, batches, optimizer);
  trainer.recordSteps({ device: 'cpu', recorder: new FakeRecorder() });
  const seen: number[] = [];
  const look = (): void => void seen.push(Number(model.weight.item()));
  trainer.registerHooks([new hooks.CallbackHook({ afterStep: look, afterTrain: look })]);
  await assert.rejects(trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 5 }), NonFiniteLossError);
  assert.equal(seen.length, 5);
  assert.equal(seen[4], seen[3]);
  assert.equal([...optimizer.state.values()].map(({ step }) => Number((step as torch.Tensor).item()))[0], 4);
});

test('gradients that never become finite end a recorded run too', async () => {
  const model = new One();
  model.weight.registerHook((grad) => torch.full_like(grad, Number.NaN));
  const optimizer = new torch.optim.Adam([...model.parameters()], { lr: 0.5 });
  const trainer = new AMPTrainer(model, [torch.ones([1])], optimizer, {
    device: 'cpu',
    dtype: torch.float16,
  });
  trainer.recordSteps({ device: 'cpu', recorder: new FakeRecorder() });
  await assert.rejects(trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 100 }), NonFiniteGradientError);
  assert.equal(model.weight.item(), 1);
});

test('what cannot be recorded is refused with the reason', async () => {
  const refused = (reason: RegExp, ...options: unknown[]): void =>
    assert.throws(() => checkRecordable(tinyConfig('', ['MODEL.DEVICE', 'cuda', ...options])), reason);
  checkRecordable(tinyConfig('', ['MODEL.DEVICE', 'cuda:0']));
  refused(/SOLVER\.CUDA_GRAPH: steps cannot be recorded: MODEL\.DEVICE is 'cpu'/, 'MODEL.DEVICE', 'cpu');
  refused(/SOLVER\.OPT is 'RMSprop'/, 'SOLVER.OPT', 'RMSprop');
  refused(/SIE_CAMERAS/, 'MODEL.BACKBONE.SIE_CAMERAS', 3);
  const cfg = tinyConfig(join(folder, 'refused'), ['SOLVER.CUDA_GRAPH', true]);
  assert.throws(() => new DefaultTrainer(cfg, { seed: 1 }), /MODEL\.DEVICE is 'cpu', and CUDA graphs are/);

  const model = new One();
  const other = new SimpleTrainer(model, [], new torch.optim.RMSprop([...model.parameters()]));
  assert.throws(() => other.recordSteps({ device: 'cpu' }), /RMSprop: its steps cannot be recorded/);
  const optimizer = new torch.optim.SGD([...model.parameters()], { lr: 1 });
  const trainer = new SimpleTrainer(model, [torch.ones([1])], optimizer);
  trainer.recordSteps({ device: 'cpu', recorder: new FakeRecorder() });
  trainer.registerHooks([new hooks.CallbackHook({ name: 'Watcher', afterBackward: () => undefined })]);
  await assert.rejects(
    trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 1 }),
    /the hook Watcher looks at gradients .*SOLVER\.CUDA_GRAPH False/,
  );
});
