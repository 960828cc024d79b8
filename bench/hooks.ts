// What hooks cost, in processor time of the whole process, which other programs disturb less than the clock:
//
// - calls: one call of each kind of hook, as the difference that it makes to modules that do nothing.
// - step: a training step of ResNet-50 at 256×128, batch 16, with and without hooks in turns; and, since steps differ
//   from one another by more than most hooks cost, calls × cost of a call ÷ the time that a step takes.
// - profiler: a training step of ResNet-18 at 64×64, batch 32, recorded and not, in turns.

import { getCfg } from '../src/config/index.js';
import { buildBackbone } from '../src/modeling/index.js';
import * as torch from '../src/torch/index.js';
import { compare, type Figure } from './compare.js';

const CHAIN = 200;
const ROUNDS = 40;
const TURNS = 3;
const RECORDED = 8;
/** The map that layer4 gives. */
const MAP = [16, 2048, 16, 8];
const PARTS = ['calls', 'step', 'profiler'];

type Attach = () => () => void;

/** Processor time of `body`, in ms. */
function milliseconds(body: () => void): number {
  const start = process.cpuUsage();
  body();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

/** Median of what `attach` adds to `body`, in µs for each of `count`; both are measured in turns. */
function added(attach: Attach, body: () => void, count: number): number {
  const differences: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const without = milliseconds(body);
    const detach = attach();
    const within = milliseconds(body);
    detach();
    // The first ones warm up.
    if (round >= ROUNDS / 4) differences.push((within - without) * 1000);
  }
  return median(differences) / count;
}

const removing =
  (register: () => torch.HookHandle[]): Attach =>
  () => {
    const handles = register();
    return () => {
      for (const handle of handles) handle.remove();
    };
  };

const capturing = (model: torch.nn.AnyModule, layers: string): Attach => {
  return () => {
    const capture = new torch.nn.Capture(model, { layers, reduce: 'mean' });
    capture.attach();
    return () => capture[Symbol.dispose]();
  };
};

const chainOf = (count: number): torch.nn.Sequential =>
  new torch.nn.Sequential(...Array.from({ length: count }, () => new torch.nn.Identity()));

/** µs of one call of each kind. */
function measureCalls(): Record<string, number> {
  const chain = chainOf(CHAIN);
  const modules = [...chain.children()];
  const x = torch.ones([1]).requiresGrad_();
  const forward = (): void => torch.scope(() => void chain.call(x));
  const both = (): void => torch.scope(() => chain.call(x).mul(1).backward());

  // Modules whose hooks are gone, beside modules that never had one.
  const bare = chainOf(CHAIN);
  for (const module of modules) module.registerForwardHook(() => undefined).remove();
  const without: number[] = [];
  const within: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    without.push(milliseconds(() => torch.scope(() => void bare.call(x))));
    within.push(milliseconds(forward));
  }

  const forwardHooks = removing(() => modules.map((m) => m.registerForwardHook(() => undefined)));
  const backwardHooks = removing(() => modules.map((m) => m.registerFullBackwardHook(() => undefined)));
  const leafHooks = removing(() => Array.from({ length: CHAIN }, () => x.registerHook(() => undefined)));
  // Hooks of an intermediate tensor live with its graph: here registering is part of what is measured.
  let watched = 0;
  const watch: Attach = () => {
    watched = CHAIN;
    return () => {
      watched = 0;
    };
  };
  const oneTensor = (): void =>
    torch.scope(() => {
      const y = x.mul(2);
      for (let i = 0; i < watched; i++) y.registerHook(() => undefined);
      y.mul(1).backward();
    });
  const identity = new torch.nn.Identity();
  const map = torch.randn(MAP);
  return {
    'nothing registered any more, a call': ((median(within) - median(without)) * 1000) / CHAIN,
    'forward hook, a call': added(forwardHooks, forward, CHAIN),
    'full backward hook, a call': added(backwardHooks, both, CHAIN),
    'tensor hook, a call': added(leafHooks, () => torch.scope(() => x.mul(1).backward()), CHAIN),
    'tensor hook, registered and called': added(watch, oneTensor, CHAIN),
    'captured mean of layer4': added(
      capturing(identity, ''),
      () => torch.scope(() => void identity.call(map)),
      1,
    ),
  };
}

/** A training step of a ResNet, and its backbone. */
function training(depth: string, size: number[]): { step: () => void; backbone: torch.nn.AnyModule } {
  const cfg = getCfg();
  cfg.mergeFromList(['MODEL.BACKBONE.DEPTH', depth, 'MODEL.DEVICE', 'cpu']);
  const backbone = buildBackbone(cfg, () => undefined);
  const classifier = new torch.nn.Linear(depth === '50x' ? 2048 : 512, 751);
  const parameters = [...backbone.parameters(), ...classifier.parameters()];
  const optimizer = new torch.optim.Adam(parameters, { lr: 1e-4 });
  const images = torch.randn(size);
  const targets = torch.randint(0, 751, [size[0]!]);
  const step = (): void =>
    torch.scope(() => {
      optimizer.zeroGrad();
      const features = backbone.call(images).mean([2, 3]);
      torch.cross_entropy_loss(classifier.call(features), targets).backward();
      optimizer.step();
    });
  return { step, backbone };
}

/** Shares of a step of ResNet-50, in %: by what a call costs, and as steps in turns show it. */
function measureStep(calls: Record<string, number>): Record<string, number> {
  const { step, backbone } = training('50x', [16, 3, 256, 128]);
  const modules = [...backbone.modules()];
  let count = 0;
  const counting = removing(() => modules.map((module) => module.registerForwardHook(() => void count++)))();
  step();
  counting();
  // Where an output is changed in place, a full backward hook is an error, here as in PyTorch.
  const { BatchNorm2d, Identity, ReLU } = torch.nn;
  const apart = modules.filter(
    (module) => ![BatchNorm2d, Identity, ReLU].some((type) => module instanceof type),
  );
  const variants: Record<string, Attach> = {
    'nothing, beside nothing': () => () => undefined,
    'forward hooks on every module': removing(() =>
      modules.map((module) => module.registerForwardHook(() => undefined)),
    ),
    'full backward hooks where nothing follows in place': removing(() =>
      apart.map((module) => module.registerFullBackwardHook(() => undefined)),
    ),
    'captured mean of layer4': capturing(backbone, 'layer4'),
  };
  const elapsed: number[] = [];
  const shares = Object.fromEntries(Object.keys(variants).map((name) => [name, [] as number[]]));
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [name, attach] of Object.entries(variants)) {
      const start = performance.now();
      const without = milliseconds(step);
      elapsed.push(performance.now() - start);
      const detach = attach();
      const within = milliseconds(step);
      detach();
      shares[name]!.push((100 * (within - without)) / without);
    }
  }
  // A hook keeps one thread busy, and the others wait: its share is that of the time that passes.
  const time = median(elapsed);
  const share = (kind: string, number: number): number => (number * calls[kind]!) / 10 / time;
  return {
    'training step of ResNet-50': time * 1000,
    'forward hooks on every module, by calls': share('forward hook, a call', count),
    'full backward hooks on every module, by calls': share('full backward hook, a call', count),
    'captured mean of layer4, by calls': share('captured mean of layer4', 1),
    ...Object.fromEntries(
      Object.entries(shares).map(([name, values]) => [`${name}, steps in turns`, median(values)]),
    ),
  };
}

/** What recording adds to an operator, in µs, and to a step of ResNet-18, in %; what reading the recording costs, in µs. */
function measureProfiler(): Record<string, number> {
  // Threads that wait for one another use processor time too.
  torch.setNumThreads(1);
  const one = torch.ones([1]);
  const operators = (): void =>
    torch.scope(() => {
      for (let i = 0; i < CHAIN; i++) one.add(1);
    });
  const recording: Attach = () => {
    torch.startProfiler();
    return () => void torch.stopProfiler();
  };
  const operator = added(recording, operators, CHAIN);

  const { step, backbone } = training('18x', [32, 3, 64, 64]);
  for (let i = 0; i < 3; i++) step();
  const times: number[] = [];
  const shares: number[] = [];
  const readings: number[] = [];
  let events = 0;
  for (let turn = 0; turn < RECORDED; turn++) {
    const without = milliseconds(step);
    const within = milliseconds(() => {
      const names = torch.nameModules(backbone);
      torch.startProfiler();
      step();
      names.remove();
    });
    const reading = milliseconds(() => {
      const profile = torch.stopProfiler();
      profile.modules();
      events = profile.events.length;
    });
    readings.push(reading * 1000);
    times.push(without * 1000);
    shares.push((100 * (within - without)) / without);
  }
  const time = median(times);
  return {
    'profiler, an operator': operator,
    'training step of ResNet-18': time,
    'profiler on ResNet-18, by operators': (100 * events * operator) / time,
    'profiler on ResNet-18, steps in turns': median(shares),
    'reading the recording': median(readings),
  };
}

function child(parts: readonly string[]): void {
  torch.setNumThreads(2);
  const calls = parts.some((part) => part === 'calls' || part === 'step') ? measureCalls() : {};
  const result = {
    ...calls,
    ...(parts.includes('step') && measureStep(calls)),
    ...(parts.includes('profiler') && measureProfiler()),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

export function hooks(rounds: number, only: readonly string[] = PARTS): Figure[] {
  const unknown = only.find((part) => !PARTS.includes(part));
  if (unknown !== undefined)
    throw new Error(`hooks has no part '${unknown}'; there are: ${PARTS.join(', ')}`);
  const figures = compare('hooks', { rounds, units: { '*': 'µs' }, args: [...only] });
  return figures.map((figure) => ({
    ...figure,
    unit: /by calls|by operators|in turns/.test(figure.name) ? '%' : 'µs',
  }));
}

if (process.argv[2] === '--child') child(process.argv.slice(3));
