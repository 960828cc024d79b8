import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { DefaultTrainer } from '../../src/engine/index.js';
import type { Results } from '../../src/evaluation/index.js';
import * as torch from '../../src/torch/index.js';
import { DEVICES, skipWithout } from '../support/devices.js';
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
