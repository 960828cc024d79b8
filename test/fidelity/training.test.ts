import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { buildModel, type MetaArch } from '../../src/modeling/index.js';
import { buildOptimizer } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation, relative } from '../support/closeness.js';
import { fillModel, images } from '../support/fill.js';
import { goldenJson, goldenTensors, referenceCfg } from '../support/golden.js';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../support/paths.js';

const R18 = { 'MODEL.BACKBONE.DEPTH': '18x', 'MODEL.BACKBONE.FEAT_DIM': 512 };
const OPTIMIZERS: Record<string, Record<string, unknown>> = {
  Adam: { 'SOLVER.OPT': 'Adam', 'SOLVER.BASE_LR': 3.5e-4 },
  SGD: { 'SOLVER.OPT': 'SGD', 'SOLVER.BASE_LR': 1e-3, 'SOLVER.MOMENTUM': 0.9, 'SOLVER.NESTEROV': true },
};
const TARGETS = [0, 0, 1, 1, 2, 2, 3, 3];
const silent = (): void => {};

// With two threads, two processes on a busy machine wait for each other most of the time.
torch.setNumThreads(1);

const STEPS = 20;
const REFERENCE_STEPS = 8;

/**
 * How far the reference, which rounds in single precision, is from double precision: each step magnifies what the one
 * before it has rounded. In double precision the figures are the same on every processor.
 */
const LIMITS: Record<string, { losses: readonly number[]; features: number }> = {
  Adam: { losses: [3e-6, 5e-5, 5e-5, 3e-3, 1e-3, 5e-3, 1e-3, 1e-2], features: 0.06 },
  SGD: { losses: [3e-6, 3e-6, 1e-5, 3e-6, 1e-5, 5e-5, 3e-6, 3e-3], features: 0.03 },
};

interface Run {
  model: MetaArch;
  losses: [cls: number, triplet: number][];
}

/** Trains the filled ResNet-18 on two batches of 8 in turn. */
function train(optimizerName: string, steps: number, dtype: torch.DType): Run {
  const cfg = referenceCfg({ ...R18, ...OPTIMIZERS[optimizerName] });
  const model = buildModel(cfg, silent);
  fillModel(model, 1);
  model.to({ dtype });
  const optimizer = buildOptimizer(cfg, model);
  const targets = torch.tensor(TARGETS, { dtype: torch.int64 });
  const batches = [0, 1].map((i) => images(`steps:r18:${i}`, 8, 64, 32).to({ dtype }));
  const losses: Run['losses'] = [];
  for (let i = 0; i < steps; i++) {
    torch.scope(() => {
      const { loss_cls, loss_triplet } = model.losses({ images: batches[i % 2], targets });
      optimizer.zeroGrad();
      loss_cls.add(loss_triplet).backward();
      optimizer.step();
      losses.push([Number(loss_cls.item()), Number(loss_triplet.item())]);
    });
  }
  return { model, losses };
}

interface Answer {
  losses: [number, number][];
  crc: Record<string, number>;
}

const python = pythonTorch();
const skip = python === undefined ? pythonTorchMissing : false;

function askPython(request: Record<string, unknown>): Answer {
  assert.ok(python);
  const script = `${repoRoot}/test/support/resnet_reference.py`;
  const output = execFileSync(python.command, [script, JSON.stringify(request)], { env: python.env });
  return JSON.parse(output.toString());
}

/** Names of the state-dict entries whose bytes differ from Python's. */
function differing(model: MetaArch, crc: Record<string, number>): string[] {
  const state = model.stateDict();
  assert.deepEqual([...state.keys()], Object.keys(crc));
  return [...state].filter(([key, t]) => bytesCrc(t) !== crc[key]).map(([key]) => key);
}

function bytesCrc(tensor: torch.Tensor): number {
  const array = tensor.toTypedArray();
  return crc32(Buffer.from(array.buffer, array.byteOffset, array.byteLength));
}

test('a seed gives the same initial weights as PyTorch', { skip }, () => {
  const { crc } = askPython({ do: 'init', depth: '18x', seed: 7 });
  torch.manualSeed(7);
  assert.deepEqual(differing(buildModel(referenceCfg(R18), silent), crc), []);
});

for (const opt of Object.keys(OPTIMIZERS)) {
  test(opt, async (t) => {
    const run = train(opt, STEPS, torch.float32);

    await t.test(`${STEPS} steps are PyTorch's`, { skip }, () => {
      const request = { do: 'train', depth: '18x', opt, steps: STEPS, threads: torch.getNumThreads() };
      const expected = askPython({ ...request, height: 64, width: 32, images: 'steps:r18' });
      run.losses.forEach(([cls, triplet], i) => {
        const [wantedCls, wantedTriplet] = expected.losses[i];
        assertWithin(relative(cls, wantedCls), 1e-5, `step ${i}, classification`);
        assertWithin(relative(triplet, wantedTriplet), 1e-5, `step ${i}, triplet`);
      });
      assert.deepEqual(differing(run.model, expected.crc), [], `weights that differ after ${STEPS} steps`);
    });

    await t.test(`${REFERENCE_STEPS} steps follow FastReID's`, () => {
      const reference = goldenJson<{ losses: Record<string, number>[] }>('steps')[`r18/${opt}`];
      const follower = train(opt, REFERENCE_STEPS, torch.float64);
      reference.losses.forEach(({ loss_cls, loss_triplet }, i) => {
        const [cls, triplet] = follower.losses[i];
        assertWithin(relative(cls + triplet, loss_cls + loss_triplet), LIMITS[opt].losses[i], `step ${i}`);
      });
      const found = follower.model.eval().embed(images('steps:r18:0', 8, 64, 32).double());
      const expected = goldenTensors('steps')(`r18/${opt}/feature_after`);
      assertWithin(deviation(found, expected), LIMITS[opt].features, 'features afterwards');
    });
  });
}
