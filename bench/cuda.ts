// npm run bench -- cuda [--only NAMES]
//
// Training of the bag-of-tricks ResNet-50 at 256×128 on one GPU, through the library's own trainer: images a second,
// the peak of device memory and the time from the start of the process to the end of the first step. Batches lie in
// page-locked memory as a loader leaves them, and losses are read after each step. Beside it, the same in PyTorch
// (python/gpu_training.py), recorded steps beside recorded and beside eager ones, and with FASTREID=/path/to/fast-reid,
// FastReID's own trainer (python/gpu_fastreid.py; it imports yacs, termcolor and torchvision). The floor is what the step's
// multiplications would take at the measured rate of a bfloat16 matrix product.

import { join } from 'node:path';
import { type Config, getCfg } from '../src/config/index.js';
import * as hooks from '../src/engine/hooks/index.js';
import { buildStepper } from '../src/engine/index.js';
import { applyMemoryFormat, buildModel, type ModelInput } from '../src/modeling/index.js';
import { buildOptimizer } from '../src/solver/index.js';
import * as torch from '../src/torch/index.js';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../test/support/paths.js';
import { child, type Figure, figures, type Sample } from './compare.js';

type Precision = 'float16' | 'bfloat16' | 'tf32' | 'float32';

interface Variant {
  precision: Precision;
  layout: 'channels_last' | 'contiguous';
  graph: boolean;
}

const variant = (precision: Precision, layout: Variant['layout'], graph = false): Variant => ({
  precision,
  layout,
  graph,
});

/** The first of each precision is what the configuration chooses by itself. */
const VARIANTS: Readonly<Record<string, Variant>> = {
  float16: variant('float16', 'channels_last'),
  'float16-graph': variant('float16', 'channels_last', true),
  bfloat16: variant('bfloat16', 'channels_last'),
  'bfloat16-graph': variant('bfloat16', 'channels_last', true),
  'bfloat16-contiguous': variant('bfloat16', 'contiguous'),
  tf32: variant('tf32', 'contiguous'),
  'tf32-graph': variant('tf32', 'contiguous', true),
  float32: variant('float32', 'contiguous'),
};

/** What all children are told. */
interface Task extends Variant {
  device: string;
  batch: number;
  depth: string;
  features: number;
  size: [number, number];
  classes: number;
  /** Steps before the timing, and timed at once. */
  warmup: number;
  steps: number;
  /** Rows and columns of the matrices whose product is timed. */
  product: number;
}

const FULL = {
  depth: '50x',
  features: 2048,
  size: [256, 128],
  warmup: 15,
  steps: 30,
  product: 8192,
} as const;
const BATCHES = [64, 256];
/** So small that a CPU does it in no time, though long enough for a step to be recorded: to try whether all works. */
const TINY = { depth: '18x', features: 512, size: [32, 32], warmup: 5, steps: 1, product: 64 } as const;
const TINY_BATCHES = [4];
const ROUNDS = 3;

/** What a child of either side prints; zero for what it did not measure. */
type Measured = Record<'imagesPerSecond' | 'peakMiB' | 'reservedMiB' | 'firstStepSeconds', number>;

function configuration({ device, depth, features, size, classes, precision, layout, graph }: Task): Config {
  return getCfg().mergeFromList([
    ...['MODEL.DEVICE', device, 'MODEL.MEMORY_FORMAT', layout, 'CUDNN_BENCHMARK', true],
    ...['MODEL.BACKBONE.DEPTH', depth, 'MODEL.BACKBONE.LAST_STRIDE', 1, 'MODEL.BACKBONE.FEAT_DIM', features],
    ...['MODEL.HEADS.WITH_BNNECK', true, 'MODEL.HEADS.NUM_CLASSES', classes],
    ...['MODEL.LOSSES.NAME', ['CrossEntropyLoss', 'TripletLoss'], 'MODEL.LOSSES.CE.EPSILON', 0.1],
    ...['MODEL.LOSSES.TRI.MARGIN', 0.3, 'MODEL.LOSSES.TRI.HARD_MINING', true],
    ...['INPUT.SIZE_TRAIN', [...size], 'SOLVER.OPT', 'Adam', 'SOLVER.BASE_LR', 3.5e-4],
    ...['SOLVER.WEIGHT_DECAY', 5e-4, 'SOLVER.WEIGHT_DECAY_NORM', 5e-4],
    ...['SOLVER.AMP.ENABLED', precision === 'float16' || precision === 'bfloat16'],
    ...['SOLVER.AMP.DTYPE', precision === 'float16' || precision === 'bfloat16' ? precision : 'auto'],
    ...['SOLVER.CUDA_GRAPH', graph],
  ]);
}

/** A few batches of random pixels, four images of each identity, again and again. */
function* batches({ batch, size, classes, device }: Task): Generator<ModelInput> {
  const made = Array.from({ length: 4 }, () => {
    const images = torch.randint(0, 256, [batch, 3, ...size], { dtype: torch.uint8 });
    const targets = torch.randint(0, classes, [batch / 4]).repeat_interleave(4);
    return { images: device === 'cpu' ? images : images.pin_memory(), targets };
  });
  for (let i = 0; ; i++) yield made[i % made.length];
}

async function measure(task: Task): Promise<Measured> {
  const { device, precision, batch } = task;
  const onGpu = device !== 'cpu';
  torch.setNumThreads(2);
  torch.manualSeed(0);
  torch.backends.cudnn.benchmark = true;
  torch.backends.cudnn.allowTf32 = precision === 'tf32';
  torch.setFloat32MatmulPrecision(precision === 'tf32' ? 'high' : 'highest');
  const cfg = configuration(task);
  const model = buildModel(cfg, () => undefined);
  applyMemoryFormat(model, cfg);
  const trainer = buildStepper<ModelInput>(cfg, model as never, batches(task), buildOptimizer(cfg, model));
  const wait = (): void => {
    if (onGpu) torch.cuda.synchronize();
  };
  let firstStepSeconds = 0;
  let begin = 0;
  const speeds: number[] = [];
  trainer.registerHooks([
    new hooks.CallbackHook({
      afterStep: ({ iter }) => {
        const done = iter + 1;
        if (done === 1) {
          wait();
          firstStepSeconds = (Date.now() - Number(process.env.BENCH_STARTED)) / 1000;
        }
        if (done < task.warmup || (done - task.warmup) % task.steps !== 0) return;
        wait();
        const now = performance.now();
        if (done > task.warmup) speeds.push((1000 * batch * task.steps) / (now - begin));
        else if (onGpu) torch.cuda.resetPeakMemory();
        begin = performance.now();
      },
    }),
  ]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: task.warmup + ROUNDS * task.steps });
  speeds.sort((a, b) => a - b);
  const { allocatedBytes, reservedBytes } = onGpu
    ? torch.cuda.memoryStats()
    : { allocatedBytes: { peak: 0 }, reservedBytes: { peak: 0 } };
  return {
    imagesPerSecond: speeds[ROUNDS >> 1],
    // A replay uses memory of the graph's that is not counted as allocated.
    peakMiB: task.graph ? 0 : allocatedBytes.peak / 2 ** 20,
    reservedMiB: reservedBytes.peak / 2 ** 20,
    firstStepSeconds,
  };
}

/** Operations of a training step for one image, and what a product of bfloat16 matrices does of them in a second. */
function floor(task: Task): { operations: number; rate: number } {
  const { device, product, size, classes } = task;
  const model = buildModel(configuration({ ...task, device: 'cpu' }), () => undefined);
  let products = 0;
  torch.scope(() =>
    torch.observeOperators(
      (call) => {
        products += torch.multiplyAccumulates(call);
      },
      // Two images, as batch norm wants; the triplet loss's few products are counted with them.
      () =>
        model.losses({
          images: torch.zeros([2, 3, ...size]),
          targets: torch.arange(2).remainder(classes),
        }),
    ),
  );
  const a = torch.randn([product, product], { device, dtype: torch.bfloat16 });
  const b = torch.randn([product, product], { device, dtype: torch.bfloat16 });
  const times = [0, 1, 2, 3, 4, 5].map(() => {
    const start = performance.now();
    torch.scope(() => {
      for (let i = 0; i < 10; i++) a.mm(b).dispose();
    });
    if (device !== 'cpu') torch.cuda.synchronize();
    return (performance.now() - start) / 1e4;
  });
  // Forward, and twice as much for the gradients of weights and of maps; a product and a sum each.
  return { operations: 3 * 2 * (products / 2), rate: (2 * product ** 3) / Math.min(...times) };
}

/** @returns why there is nothing to measure here, if so */
export function cudaMissing(): string | undefined {
  if (torch.cuda.isAvailable()) return undefined;
  return torch.cuda.isBuilt()
    ? 'no CUDA device is here'
    : 'the addon was built without CUDA (npm run setup -- --cuda)';
}

const UNITS = { imagesPerSecond: 'images/s', peakMiB: 'MiB', reservedMiB: 'MiB', firstStepSeconds: 's' };
const NAMES = {
  imagesPerSecond: 'training',
  peakMiB: 'peak memory in tensors',
  reservedMiB: 'peak memory taken',
  firstStepSeconds: 'to the end of the first step',
};

function sample(name: string, measured: Partial<Measured>): Sample {
  return Object.fromEntries(
    Object.entries(measured)
      .filter(([, value]) => value > 0)
      .map(([key, value]) => [`${name}: ${NAMES[key as keyof Measured]}`, value]),
  );
}

function units(name: string): Record<string, string> {
  return Object.fromEntries(
    (Object.keys(NAMES) as (keyof Measured)[]).map((key) => [`${name}: ${NAMES[key]}`, UNITS[key]]),
  );
}

interface CudaOptions {
  /** Variants to measure; all by default. */
  only?: readonly string[] | undefined;
  /** `cpu`, which records nothing, for the tests of this file. */
  device?: string;
  /** In small: figures without meaning, in no time. */
  tiny?: boolean | undefined;
}

/** @throws for variants that there are not */
export function cuda(rounds: number, { only, device = 'cuda', tiny }: CudaOptions = {}): Figure[] {
  // Nothing can be recorded on a CPU.
  const possible = Object.keys(VARIANTS).filter((name) => device !== 'cpu' || !VARIANTS[name].graph);
  const unknown = only?.filter((name) => !possible.includes(name)) ?? [];
  if (unknown.length > 0) {
    throw new Error(`no such variants: ${unknown.join(', ')}; there are ${possible.join(', ')}`);
  }
  const python = pythonTorch();
  if (python === undefined) process.stderr.write(`Without Python beside it: ${pythonTorchMissing}\n`);
  const sizes = tiny ? TINY : FULL;
  const run = (command: string, file: string[], task: Task, env: NodeJS.ProcessEnv): Measured =>
    child(command, [...file, JSON.stringify(task)], {
      ...env,
      BENCH_STARTED: String(Date.now()),
    }) as Measured;
  const ours = join(repoRoot, 'dist/bench/cuda.js');
  const twin = (name: string, task: Task): Measured =>
    run(python!.command, [join(repoRoot, 'bench/python', name)], task, python!.env);
  const result: Figure[] = [];
  let ground: { operations: number; rate: number } | undefined;
  for (const key of only ?? possible) {
    for (const batch of tiny ? TINY_BATCHES : BATCHES) {
      const task: Task = { ...VARIANTS[key], ...sizes, size: [...sizes.size], device, batch, classes: 752 };
      const name = `${key}, batch ${batch}`;
      const [here, same, eager, fastreid]: Sample[][] = [[], [], [], []];
      for (let round = 0; round < rounds; round++) {
        process.stderr.write(`\r${name}: round ${round + 1} of ${rounds} `);
        here.push(sample(name, run(process.execPath, [ours, '--child'], task, process.env)));
        if (!python) continue;
        same.push(sample(name, twin('gpu_training.py', task)));
        if (task.graph) eager.push(sample(name, twin('gpu_training.py', { ...task, graph: false })));
        // It knows float16 and float32.
        if (process.env.FASTREID && task.precision !== 'bfloat16') {
          fastreid.push(sample(name, twin('gpu_fastreid.py', task)));
        }
      }
      process.stderr.write('\n');
      const rows = figures(here, same, units(name));
      if (task.graph && python) for (const row of rows) row.twin = 'recorded too';
      result.push(...rows);
      const beside = (samples: Sample[], whom: string, as: string): void => {
        if (samples.length === 0) return;
        const [speed] = figures(here, samples, units(name));
        result.push({ ...speed, name: `${name}: training, beside ${whom}`, twin: as });
      };
      beside(eager, 'eager PyTorch', 'eager');
      beside(fastreid, "FastReID's trainer", 'eager, contiguous');
      ground ??= child(process.execPath, [ours, '--floor', JSON.stringify(task)], process.env) as {
        operations: number;
        rate: number;
      };
      const least = ground.rate / ground.operations;
      result.push({
        name: `${name}: time of a step ÷ its floor`,
        unit: '',
        ours: least / rows[0].ours,
        python: rows[0].python === null ? null : least / rows[0].python,
        ratio: null,
      });
    }
  }
  if (ground) {
    const plain = { python: null, ratio: null };
    result.push(
      { name: 'product of bfloat16 matrices', unit: 'TFLOP/s', ours: ground.rate / 1e12, ...plain },
      { name: 'operations of a step', unit: 'GFLOP/image', ours: ground.operations / 1e9, ...plain },
      { name: 'floor', unit: 'images/s', ours: ground.rate / ground.operations, ...plain },
    );
  }
  return result;
}

const [, , mode, text = ''] = process.argv;
if (mode === '--child') {
  process.stdout.write(`${JSON.stringify(await measure(JSON.parse(text) as Task))}\n`);
} else if (mode === '--floor') {
  process.stdout.write(`${JSON.stringify(floor(JSON.parse(text) as Task))}\n`);
}
