// npm run bench -- models [--only NAMES]
//
// Every family of backbones, one variant each, at 128×64 and batch 8: images a second in training (forward, backward,
// Adam) and inference, and the peak resident memory of the process in either. Beside it, Python runs the very same
// operator calls one after the other, without modules: they are recorded here and written as a Python function
// (record.ts, python/replay.py). Children of both take turns; each times inference first, then training. That both
// compute the same is checked by the sum of the features and the losses of the first steps. Linux only: the peak is
// read from /proc.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCfg } from '../src/config/index.js';
import { buildBackbone } from '../src/modeling/index.js';
import * as torch from '../src/torch/index.js';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../test/support/paths.js';
import { child, type Figure, figures, type Sample } from './compare.js';
import { Recorder } from './record.js';

interface Family {
  options: Record<string, unknown>;
  /** Channels of the map. */
  channels: number;
  size?: readonly [height: number, width: number];
}

const family = (builder: string, DEPTH: string, channels: number, more: Partial<Family> = {}): Family => ({
  ...more,
  options: { NAME: `build_${builder}_backbone`, DEPTH, ...more.options },
  channels,
});

const FAMILIES: Readonly<Record<string, Family>> = {
  resnet: family('resnet', '50x', 2048),
  'resnet-ibn-se-nl': family('resnet', '50x', 2048, {
    options: { WITH_IBN: true, WITH_SE: true, WITH_NL: true },
  }),
  resnext: family('resnext', '50x', 2048),
  resnest: family('resnest', '50x', 2048),
  osnet: family('osnet', 'x1_0', 512),
  regnet: family('regnet', '800y', 768),
  effnet: family('effnet', 'b0', 1280),
  repvgg: family('repvgg', 'A0', 1280),
  mobilenetv2: family('mobilenetv2', '1.0x', 1280),
  mobilenetv3: family('mobilenetv3', 'Large', 1280),
  shufflenetv2: family('shufflenetv2', '1.0x', 1024),
  vit: family('vit', 'small', 768),
  timm_vit: family('timm_vit', 'small', 384),
  dinov2: family('dinov2', 'small_reg4', 384, { options: { STRIDE_SIZE: [14, 14] }, size: [126, 70] }),
  clip_vit: family('clip_vit', 'base', 768, { options: { FEAT_DIM: 768 } }),
  convnext: family('convnext', 'tiny', 768),
};

const BATCH = 8;
const CLASSES = 751;
const SEED = 0;
/** What both sides need to know; `trainable` are the numbers of the parameters. */
const COMMON = { seed: SEED, threads: 2, seconds: 4, least: 3, batch: BATCH, lr: 1e-5, weightDecay: 5e-4 };

/** A family's model with a classifier behind it, and a batch; the same in every process. */
function make(name: string) {
  const { options, channels, size = [128, 64] } = FAMILIES[name]!;
  torch.manualSeed(SEED);
  const cfg = getCfg();
  const flat = Object.entries(options).flatMap(([key, value]) => [`MODEL.BACKBONE.${key}`, value]);
  cfg.mergeFromList([...flat, 'MODEL.DEVICE', 'cpu', 'INPUT.SIZE_TRAIN', [...size]]);
  const backbone = buildBackbone(cfg, () => undefined);
  const classifier = new torch.nn.Linear(channels, CLASSES);
  const images = torch.randn([BATCH, 3, ...size]);
  const targets = torch.randint(0, CLASSES, [BATCH]);
  const features = (): torch.Tensor => torch.scope(() => backbone.call(images).mean([2, 3]));
  return {
    backbone,
    parameters: [...backbone.parameters(), ...classifier.parameters()],
    buffers: [...backbone.buffers()],
    inputs: [images, targets],
    infer: (): torch.Tensor => torch.noGrad(features),
    loss: (): torch.Tensor =>
      torch.scope(() => torch.cross_entropy_loss(classifier.call(features()), targets)),
  };
}

/** Writes to `folder` what replay.py makes a Python function of. */
function record(name: string, folder: string): void {
  torch.setNumThreads(COMMON.threads);
  const { backbone, parameters, buffers, inputs, infer, loss } = make(name);
  const recorder = new Recorder();
  const trainable = recorder.know(parameters.filter((p) => p.requiresGrad));
  recorder.know([...parameters.filter((p) => !p.requiresGrad), ...buffers, ...inputs]);
  // Statistics change in training, and constants are met on the way.
  const before = new Map([...recorder.values].map(([number, tensor]) => [number, tensor.detach().clone()]));
  const save = (file: string, content: unknown): void =>
    writeFileSync(join(folder, file), JSON.stringify(content));
  backbone.eval();
  save('eval.json', recorder.record(infer));
  backbone.train();
  torch.manualSeed(SEED);
  save('train.json', recorder.record(loss));
  const values = [...recorder.values].map(
    ([number, t]) => [String(number), before.get(number) ?? t] as const,
  );
  torch.saveSync(new Map(values), join(folder, 'values.pth'));
  save('info.json', { ...COMMON, trainable });
}

/** A figure of /proc/self/status in MiB. */
function status(key: string): number {
  const found = new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(found![1]) / 1024;
}

interface Timed {
  perSecond: number;
  peak: number;
  /** What the first steps returned. */
  numbers: number[];
}

/** Images a second by the median step after the first; the peak memory meanwhile. */
function timed(step: () => number): Timed {
  // The peak begins anew.
  writeFileSync('/proc/self/clear_refs', '5');
  const numbers = [step()];
  const times: number[] = [];
  const begin = performance.now();
  while (times.length < COMMON.least || performance.now() - begin < COMMON.seconds * 1000) {
    const start = performance.now();
    const number = step();
    times.push(performance.now() - start);
    if (numbers.length < COMMON.least) numbers.push(number);
  }
  times.sort((a, b) => a - b);
  const median = (times[(times.length - 1) >> 1]! + times[times.length >> 1]!) / 2;
  return { perSecond: (1000 * BATCH) / median, peak: status('VmHWM'), numbers };
}

/** What a child of either side prints. */
interface Measured {
  inference: Timed;
  training: Timed;
}

function measure(name: string): Measured {
  torch.setNumThreads(COMMON.threads);
  const { backbone, parameters, infer, loss } = make(name);
  const trainable = parameters.filter((p) => p.requiresGrad);
  const { lr, weightDecay } = COMMON;
  const optimizer = new torch.optim.Adam(trainable, { lr, weightDecay });
  backbone.eval();
  const inference = timed(() => torch.scope(() => Number(infer().double().sum().item())));
  backbone.train();
  torch.manualSeed(SEED);
  const training = timed(() =>
    torch.scope(() => {
      optimizer.zeroGrad();
      const value = loss();
      value.backward();
      optimizer.step();
      return Number(value.item());
    }),
  );
  return { inference, training };
}

function sampleOf(name: string, { inference, training }: Measured): Sample {
  return {
    [`${name}: training`]: training.perSecond,
    [`${name}: inference`]: inference.perSecond,
    [`${name}: peak memory, training`]: training.peak,
    [`${name}: peak memory, inference`]: inference.peak,
  };
}

function checkSame(name: string, ours: Measured, theirs: Measured): void {
  for (const kind of ['inference', 'training'] as const) {
    const [a, b] = [ours[kind].numbers, theirs[kind].numbers];
    const alike = a.every((value, i) => Math.abs(value - b[i]!) <= 1e-4 * Math.max(1, Math.abs(b[i]!)));
    if (!alike) throw new Error(`${name}, ${kind}: computed [${a}], Python computed [${b}]`);
  }
}

function compareFamily(name: string, rounds: number): Figure[] {
  const python = pythonTorch();
  const folder = mkdtempSync(join(tmpdir(), 'bench-models-'));
  const node = (...args: string[]) =>
    child(process.execPath, [join(repoRoot, 'dist/bench/models.js'), '--child', ...args], process.env);
  const replay = (task: string) =>
    child(python!.command, [join(repoRoot, 'bench/python/replay.py'), task, folder], python!.env);
  try {
    if (python !== undefined) {
      process.stderr.write(`\r${name}: recording `);
      node('record', name, folder);
      replay('write');
    }
    const ours: Measured[] = [];
    const theirs: Measured[] = [];
    for (let round = 0; round < rounds; round++) {
      process.stderr.write(`\r${name}: round ${round + 1} of ${rounds} `);
      ours.push(node('measure', name) as unknown as Measured);
      if (python === undefined) continue;
      theirs.push(replay('measure') as unknown as Measured);
      checkSame(name, ours.at(-1)!, theirs.at(-1)!);
    }
    process.stderr.write('\n');
    const samples = (measured: Measured[]): Sample[] => measured.map((each) => sampleOf(name, each));
    const units = {
      [`${name}: training`]: 'images/s',
      [`${name}: inference`]: 'images/s',
      '*': 'MiB',
    };
    return figures(samples(ours), samples(theirs), units);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @param only families to measure; all by default */
export function models(rounds: number, only: readonly string[] = Object.keys(FAMILIES)): Figure[] {
  const unknown = only.filter((name) => !Object.hasOwn(FAMILIES, name));
  if (unknown.length > 0) {
    throw new Error(`no such models: ${unknown.join(', ')}; there are ${Object.keys(FAMILIES).join(', ')}`);
  }
  if (pythonTorch() === undefined) process.stderr.write(`Without Python beside it: ${pythonTorchMissing}\n`);
  return only.flatMap((name) => compareFamily(name, rounds));
}

const [, , mode, task, name = '', folder = ''] = process.argv;
if (mode === '--child' && task === 'record') {
  record(name, folder);
  process.stdout.write('{}\n');
} else if (mode === '--child' && task === 'measure') {
  process.stdout.write(`${JSON.stringify(measure(name))}\n`);
}
