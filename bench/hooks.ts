// What hooks cost: by call, as the difference of a chain of modules that do nothing with and without them, and for all
// modules of ResNet-50 as a share of a training step at 256×128, batch 16. Neither depends on what a module computes.

import { getCfg } from '../src/config/index.js';
import { buildBackbone } from '../src/modeling/index.js';
import * as torch from '../src/torch/index.js';
import { compare, type Figure } from './compare.js';

const CHAIN = 200;
const ROUNDS = 40;
const STEPS = 3;
/** The map that layer4 gives. */
const MAP = [16, 2048, 16, 8];

function milliseconds(body: () => void): number {
  const start = process.hrtime.bigint();
  body();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

/** Median of what `attach` adds to `body`, in µs for each of `count`; both are measured in turns. */
function added(attach: () => torch.HookHandle[], body: () => void, count: number): number {
  const differences: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const without = milliseconds(body);
    const handles = attach();
    const within = milliseconds(body);
    for (const handle of handles) handle.remove();
    // The first ones warm up.
    if (round >= ROUNDS / 4) differences.push((within - without) * 1000);
  }
  return median(differences) / count;
}

interface Step {
  time: number;
  calls: number;
  convolutions: number;
}

/** A training step of ResNet-50 in ms, and how often its modules, and its convolutions, are called in it. */
function trainingStep(): Step {
  const cfg = getCfg();
  cfg.mergeFromList(['MODEL.BACKBONE.DEPTH', '50x', 'MODEL.DEVICE', 'cpu']);
  const backbone = buildBackbone(cfg, () => undefined);
  const classifier = new torch.nn.Linear(2048, 751);
  const optimizer = new torch.optim.Adam([...backbone.parameters(), ...classifier.parameters()], {
    lr: 1e-4,
  });
  const images = torch.randn([16, 3, 256, 128]);
  const targets = torch.randint(0, 751, [16]);
  const step = (): void =>
    torch.scope(() => {
      optimizer.zeroGrad();
      const features = backbone.call(images).mean([2, 3]);
      torch.cross_entropy_loss(classifier.call(features), targets).backward();
      optimizer.step();
    });
  let [calls, convolutions] = [0, 0];
  const handles = [...backbone.modules()].map((module) =>
    module.registerForwardHook(() => {
      calls++;
      if (module instanceof torch.nn.Conv2d) convolutions++;
    }),
  );
  step();
  for (const handle of handles) handle.remove();
  return { time: median(Array.from({ length: STEPS }, () => milliseconds(step))), calls, convolutions };
}

function child(): void {
  torch.setNumThreads(2);
  const chain = new torch.nn.Sequential(...Array.from({ length: CHAIN }, () => new torch.nn.Identity()));
  const modules = [...chain.children()];
  const x = torch.ones([1]).requiresGrad_();
  const forward = (): void => torch.scope(() => void chain.call(x));
  const both = (): void => torch.scope(() => chain.call(x).mul(1).backward());
  const forwardHook = added(() => modules.map((m) => m.registerForwardHook(() => undefined)), forward, CHAIN);
  const backwardHook = added(
    () => modules.map((m) => m.registerFullBackwardHook(() => undefined)),
    both,
    CHAIN,
  );

  // Hooks of an intermediate tensor live with its graph: here registering is part of what is measured.
  let watched = 0;
  const stopWatching = (): void => {
    watched = 0;
  };
  const oneTensor = (): void =>
    torch.scope(() => {
      const y = x.mul(2);
      for (let i = 0; i < watched; i++) y.registerHook(() => undefined);
      y.mul(1).backward();
    });
  const watch = (): torch.HookHandle[] => {
    watched = CHAIN;
    return [{ remove: stopWatching, [Symbol.dispose]: stopWatching }];
  };
  const tensorHook = added(watch, oneTensor, CHAIN);

  const identity = new torch.nn.Identity();
  const map = torch.randn(MAP);
  const attachCapture = (): torch.HookHandle[] => {
    const capture = new torch.nn.Capture(identity, { layers: '', reduce: 'mean' });
    capture.attach();
    return [{ remove: () => capture[Symbol.dispose](), [Symbol.dispose]: () => undefined }];
  };
  const capture = added(attachCapture, () => torch.scope(() => void identity.call(map)), 1);

  const { time, calls, convolutions } = trainingStep();
  const share = (µs: number): number => (100 * µs) / 1000 / time;
  const result = {
    'forward hook, a call': forwardHook,
    'full backward hook, a call': backwardHook,
    'tensor hook, registered and called': tensorHook,
    'captured mean of layer4, a step': capture,
    'training step': time * 1000,
    'forward hooks on every module, share of a step': share(forwardHook * calls),
    'full backward hooks on every convolution, share of a step': share(backwardHook * convolutions),
    'captured mean of layer4, share of a step': share(capture),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

export function hooks(rounds: number): Figure[] {
  const shares = [
    'forward hooks on every module',
    'full backward hooks on every convolution',
    'captured mean of layer4',
  ];
  const units = Object.fromEntries(shares.map((name) => [`${name}, share of a step`, '%']));
  return compare('hooks', { rounds, units: { ...units, '*': 'µs' } });
}

if (process.argv[2] === '--child') child();
