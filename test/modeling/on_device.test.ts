// Every kind of model and loss on a GPU: as on the CPU, and recorded as one CUDA graph.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Config, getCfg } from '../../src/config/index.js';
import { buildModel, type MetaArch } from '../../src/modeling/index.js';
import { buildOptimizer } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';
import { skipWithout } from '../support/devices.js';
import { images } from '../support/fill.js';
import { backbone, MODELS, TRAININGS } from '../support/model_cases.js';

torch.setNumThreads(1);
torch.backends.cudnn.allowTf32 = false;

const CASES: Record<string, unknown[]> = {
  ...MODELS,
  ...TRAININGS,
  RegNet: backbone('regnet', '400x', 384),
  EfficientNet: backbone('effnet', 'b0', 1280),
  ConvNeXt: backbone('convnext', 'tiny', 768),
  CLIP: backbone('clip_vit', 'base', 512),
  DINOv2: backbone('dinov2', 'small', 384),
};

function configure(device: string, options: readonly unknown[]): Config {
  return getCfg().mergeFromList([
    ...['MODEL.DEVICE', device, 'MODEL.BACKBONE.DEPTH', '18x', 'MODEL.BACKBONE.FEAT_DIM', 512],
    // Random numbers of two devices differ.
    ...['MODEL.HEADS.NUM_CLASSES', 5, 'INPUT.SIZE_TRAIN', [96, 32], 'MODEL.BACKBONE.DROP_PATH_RATIO', 0],
    ...options,
  ]);
}

function build(device: string, options: readonly unknown[], weights?: Map<string, torch.Tensor>): MetaArch {
  const model = buildModel(configure(device, options), () => {});
  if (weights) model.loadStateDict(weights);
  model.prepareTraining();
  return model;
}

const distance = (a: torch.Tensor, b: torch.Tensor): number =>
  Number(a.sub(b).norm().div(b.norm().clamp_min(1e-9)).item());

for (const [name, options] of Object.entries(CASES)) {
  test(`${name}: losses, gradients and features of a GPU are the CPU's; a step can be recorded`, {
    ...skipWithout('cuda'),
  }, () => {
    torch.scope(() => {
      torch.manualSeed(5);
      const batch = { images: images(name, 4, 96, 32), targets: torch.tensor([0n, 0n, 1n, 1n]) };
      const reference = build('cpu', options);
      const weights = new Map([...reference.stateDict()].map(([key, t]) => [key, t.clone()]));
      const run = (model: MetaArch) => {
        const terms = model.losses(batch);
        Object.values(terms)
          .reduce((sum, term) => sum.add(term))
          .backward();
        const losses = Object.values(terms).map((term) => Number(term.item()));
        const grads = [...model.parameters()].flatMap(({ grad }) => (grad ? [grad.flatten().cpu()] : []));
        return { losses, grads: torch.cat(grads), features: model.eval().embed(batch.images).cpu() };
      };
      const expected = run(reference);
      const found = run(build('cuda', options, weights));
      found.losses.forEach((loss, i) => {
        assert.ok(Math.abs(loss - expected.losses[i]) <= 1e-3 * Math.max(1, Math.abs(expected.losses[i])));
      });
      assert.ok(distance(found.grads, expected.grads) < 2e-2, 'gradients');
      assert.ok(distance(found.features, expected.features) < 1e-2, 'features');

      const count = 5;
      const steps = (recorded: boolean): number[] => {
        torch.manualSeed(6);
        const model = build('cuda', options, weights);
        const optimizer = buildOptimizer(configure('cuda', options), model);
        optimizer.capturable = true;
        const body = (input: torch.Tensor, targets: torch.Tensor): torch.Tensor => {
          const loss = Object.values(model.losses({ images: input, targets })).reduce((a, b) => a.add(b));
          loss.backward();
          optimizer.step();
          return loss;
        };
        const step = new torch.cuda.GraphedStep(body, {
          optimizers: optimizer,
          warmup: recorded ? 2 : count,
        });
        const losses = Array.from({ length: count }, () =>
          torch.scope(() => Number(step.call(batch.images, batch.targets).item())),
        );
        assert.equal(step.recorded, recorded);
        return losses;
      };
      const usual = steps(false);
      steps(true).forEach((loss, i) => {
        assert.ok(Math.abs(loss - usual[i]) <= 1e-2 * Math.max(1, Math.abs(usual[i])), `step ${i}`);
      });
    });
  });
}
