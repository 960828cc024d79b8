import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildModel, type MetaArch } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation, relative } from './closeness.js';
import { fillModel, images } from './fill.js';
import { goldenJson, goldenTensors, referenceCfg } from './golden.js';

interface Reference {
  opts: Record<string, unknown>;
  keys: [string, number[]][];
  trainable: number;
  frozen: string[];
  gain: number;
  targets: number[];
  init: Record<string, [mean: number, std: number]>;
  backbone_out?: { shape: number[]; mean: number; std: number; first8: number[] };
  loss: Record<string, number>;
  grad_norm: Record<string, number>;
  running_after: Record<string, [sum: number, norm: number]>;
}

/**
 * How far the reference, which was computed in single precision, is from what the same model gives in double
 * precision: its own rounding, which training-mode batch normalisation over four images amplifies, and ReLUs and hard
 * pairs that fall the other way for it. In double precision the figures are the same on every processor to eight
 * digits and more, so that a limit needs no room for the machine. What single precision gives is compared bit for bit
 * with PyTorch on the same machine, in training.test.ts and in the tests of the layers and backbones.
 */
interface Limits {
  /** Features and maps of the evaluation, relative to the largest; single precision is held to it too. */
  features?: number;
  /** Relative. */
  losses?: number;
  /** Norms, relative, but to no less than a hundredth of the largest: some gradients are 0 in exact arithmetic. */
  gradients?: number;
  /** Running statistics, relative. */
  statistics?: number;
  /** False where training amplifies rounding beyond all comparison. */
  training?: boolean;
}

const SMALLEST = 1e-2;

const references = goldenJson<Reference>('models');
const features = goldenTensors('models');
const silent = (): void => {};

/** Norm in double precision. */
function norm(tensor: torch.Tensor): number {
  return Number(tensor.detach().double().norm().item());
}

/**
 * Registers the tests of one model of the reference data: its state dict, and what it computes where that is known.
 * Some models amplify rounding and need other limits.
 */
export function checkModel(
  name: string,
  {
    features: featureLimit = 1e-5,
    losses: lossLimit = 3e-5,
    gradients = 2.5e-5,
    statistics = 1e-5,
    training = true,
  }: Limits = {},
): void {
  const reference = references[name];
  if (reference === undefined) throw new Error(`models.json has no '${name}'`);

  test(`${name}: state dict, trainable parameters and initialisation are FastReID's`, () => {
    torch.manualSeed(0);
    const model = buildModel(referenceCfg(reference.opts), silent);
    assert.deepEqual(
      [...model.stateDict()].map(([key, t]) => [key, t.shape]),
      reference.keys,
    );
    const parameters = [...model.namedParameters()];
    const count = parameters.filter(([, p]) => p.requiresGrad).reduce((sum, [, p]) => sum + p.numel(), 0);
    assert.equal(count, reference.trainable);
    assert.deepEqual(
      parameters.filter(([, p]) => !p.requiresGrad).map(([key]) => key),
      reference.frozen,
    );
    const state = model.stateDict();
    for (const [key, [, std]] of Object.entries(reference.init ?? {})) {
      const values = state.get(key);
      assert.ok(values, key);
      assertWithin(relative(Number(values.std().item()), std), 0.05, `${name}, spread of ${key}`);
    }
  });

  if (reference.loss === undefined) return;

  test(`${name}: features, losses, gradients and statistics are FastReID's`, () => {
    const cfg = referenceCfg(reference.opts);
    const model = buildModel(cfg, silent);
    fillModel(model, reference.gain);
    const [height, width] = cfg.INPUT.SIZE_TRAIN;
    const single = images(name, reference.targets.length, height, width);
    const expectedFeatures = features(`${name}/eval_feature`);

    model.eval();
    assertWithin(deviation(model.embed(single), expectedFeatures), featureLimit, `${name}, single precision`);
    model.to({ dtype: torch.float64 });
    const batch = single.double();
    if (reference.backbone_out !== undefined) {
      checkMap(name, model, batch, reference.backbone_out, featureLimit);
    }
    assertWithin(deviation(model.embed(batch), expectedFeatures), featureLimit, `${name}, features`);

    if (!training) return;
    model.train();
    const targets = torch.tensor(reference.targets, { dtype: torch.int64 });
    const losses = model.losses({ images: batch, targets });
    assert.deepEqual(Object.keys(losses), Object.keys(reference.loss));
    for (const [key, value] of Object.entries(reference.loss)) {
      assertWithin(relative(Number(losses[key].item()), value), lossLimit, `${name}, ${key}`);
    }
    Object.values(losses)
      .reduce((sum, loss) => sum.add(loss))
      .backward();
    const floor = SMALLEST * Math.max(...Object.values(reference.grad_norm));
    for (const [key, parameter] of model.namedParameters()) {
      if (!parameter.requiresGrad) continue;
      assert.ok(parameter.grad, key);
      const expected = reference.grad_norm[key];
      const found = Math.abs(norm(parameter.grad) - expected) / Math.max(expected, floor);
      assertWithin(found, gradients, `${name}, gradient of ${key}`);
    }
    const state = model.stateDict();
    for (const [key, [sum, length]] of Object.entries(reference.running_after)) {
      const running = state.get(key);
      assert.ok(running, key);
      assertWithin(relative(norm(running), length), statistics, `${name}, norm of ${key}`);
      const total = Number(running.double().sum().item());
      assertWithin(Math.abs(total - sum) / length, statistics, `${name}, sum of ${key}`);
    }
  });
}

/** What the backbone makes of normalised images. */
function checkMap(
  name: string,
  model: MetaArch,
  batch: torch.Tensor,
  { shape, mean, std, first8 }: NonNullable<Reference['backbone_out']>,
  limit: number,
): void {
  const map = torch.noGrad(() => (model.getModule('backbone') as torch.nn.Module).call(normalized(batch)));
  assert.deepEqual(map.shape, shape);
  assertWithin(relative(Number(map.mean().item()), mean), limit, `${name}, mean of the map`);
  const spread = Number(map.std(null, { correction: 0 }).item());
  assertWithin(relative(spread, std), limit, `${name}, spread of the map`);
  const start = map.flatten().narrow(0, 0, 8);
  assertWithin(deviation(start, torch.tensor(first8)), limit, `${name}, first values of the map`);
}

function normalized(batch: torch.Tensor): torch.Tensor {
  const cfg = referenceCfg();
  const mean = torch.tensor([...cfg.MODEL.PIXEL_MEAN]).view([1, -1, 1, 1]);
  const std = torch.tensor([...cfg.MODEL.PIXEL_STD]).view([1, -1, 1, 1]);
  return batch.sub(mean).div(std);
}
