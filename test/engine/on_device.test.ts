import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { AMPTrainer, DefaultTrainer, SimpleTrainer } from '../../src/engine/index.js';
import type { Results } from '../../src/evaluation/index.js';
import * as torch from '../../src/torch/index.js';
import { DEVICES, skipWithout } from '../support/devices.js';
import { refusingToWait } from '../support/fake_recorder.js';
import { tinyConfig } from './tiny.js';
import { tinyFolder } from './tiny-folder.js';
import './support.js';

const folder = tinyFolder('on-device');
torch.setNumThreads(1);

async function train(name: string, device: string, options: unknown[]) {
  torch.manualSeed(6);
  const cfg = tinyConfig(join(folder, name), ['MODEL.DEVICE', device, 'CUDNN_BENCHMARK', true, ...options]);
  const trainer = new DefaultTrainer(cfg, { seed: 6 });
  const results = (await trainer.train()) as Results;
  await trainer.close();
  return { trainer, results, losses: trainer.storage.history('total_loss').entries() };
}

for (const device of DEVICES) {
  test(
    `${device}: trains in mixed precision, evaluates, and what it saved is evaluated alike on the CPU`,
    skipWithout(device),
    async () => {
      const amp = [
        'SOLVER.AMP.ENABLED',
        true,
        'SOLVER.AMP.DTYPE',
        'bfloat16',
        'SOLVER.CLIP_GRADIENTS.ENABLED',
        true,
      ];
      const { trainer, results, losses } = await train(device, device, amp);
      assert.ok(losses.every(([loss]) => Number.isFinite(loss)));
      for (const [key, parameter] of trainer.model.namedParameters()) {
        assert.equal(parameter.device.type, device, key);
      }
      const weights = join(folder, device, 'model_final.pth');
      const cfg = tinyConfig(join(folder, `${device}-eval`), [
        'MODEL.DEVICE',
        'cpu',
        'MODEL.WEIGHTS',
        weights,
      ]);
      const again = (await DefaultTrainer.evaluateOnly(cfg)) as Results;
      assert.ok(Math.abs(again.mAP - results.mAP) < 1e-3, `${again.mAP} ${results.mAP}`);
    },
  );
}

class Net extends torch.nn.Module<[torch.Tensor], Record<string, torch.Tensor>> {
  readonly fc = new torch.nn.Linear(4, 2);
  #accuracy = torch.zeros([]);

  metricTensors(): Record<string, torch.Tensor> {
    return { accuracy: this.#accuracy, constant: torch.tensor(0.25, { dtype: torch.float64 }) };
  }
  protected override forward(x: torch.Tensor): Record<string, torch.Tensor> {
    const y = this.fc.call(x).to(torch.float32);
    this.#accuracy = y.detach().gt(0).to(torch.float32).mean().keep();
    return { loss_a: y.pow(2).mean(), loss_b: y.abs().mean() };
  }
}

class Unwaiting extends SimpleTrainer<torch.Tensor> {
  protected override stepOn(batch: torch.Tensor) {
    return refusingToWait(() => super.stepOn(batch));
  }
}

class UnwaitingAMP extends AMPTrainer<torch.Tensor> {
  protected override stepOn(batch: torch.Tensor) {
    return refusingToWait(() => super.stepOn(batch));
  }
}

for (const [device, dtype] of [
  ['cpu', null],
  ['cuda', null],
  ['cuda', torch.float16],
  ['cuda', torch.bfloat16],
] as const) {
  const kind = dtype?.name ?? 'float32';
  test(
    `${device}, ${kind}: nothing waits for a step; a broken one changes nothing`,
    skipWithout(device),
    async () => {
      torch.manualSeed(4);
      const model = new Net().to(device);
      const optimizer = new torch.optim.AdamW([...model.parameters()], { lr: 0.1 });
      const scales = [1, 1, Number.POSITIVE_INFINITY];
      const xs = scales.map((scale) => torch.full([3, 4], scale, { device }));
      const trainer =
        dtype === null
          ? new Unwaiting(model, xs, optimizer)
          : new UnwaitingAMP(model, xs, optimizer, { device, dtype });
      await assert.rejects(
        trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 3 }),
        /loss_a is .* at iteration 2/,
      );
      assert.deepEqual([...trainer.storage.latest().keys()].sort(), [
        ...['accuracy', 'constant', 'data_time', 'loss_a', 'loss_b', 'total_loss'],
      ]);
      assert.equal(trainer.storage.latest().get('constant')?.[0], 0.25);
      assert.equal(optimizer.foundInf, null);
      for (const [key, p] of model.namedParameters()) {
        const { step } = optimizer.state.get(p) as { step: torch.Tensor };
        assert.equal(step.item(), 2, key);
        assert.ok(p.isfinite().all().item(), key);
      }
    },
  );
}

test('cuda: recorded steps (SOLVER.CUDA_GRAPH) train as usual ones do', skipWithout('cuda'), async () => {
  const options = ['SOLVER.AMP.ENABLED', true, 'SOLVER.AMP.DTYPE', 'float16'];
  const usual = await train('usual', 'cuda', options);
  const recorded = await train('recorded', 'cuda', [...options, 'SOLVER.CUDA_GRAPH', true]);
  assert.equal(recorded.losses.length, usual.losses.length);
  // Learning rates are rounded to float32, and cuDNN may choose other algorithms.
  for (const [i, [loss]] of recorded.losses.entries()) {
    assert.ok(Math.abs(loss - usual.losses[i][0]) < 0.05 * Math.abs(usual.losses[i][0]), `step ${i}`);
  }
});
