import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Config } from '../config/index.js';
import type { ProfilerOptions } from '../torch/index.js';
import { importExtensions, importOption } from './extensions.js';
import { wholeNumber } from './numbers.js';
import { loadConfig } from './overrides.js';

interface ProfileFlags {
  configFile: string;
  out?: string;
  synthetic?: boolean;
  warmUp: number;
  rows: number;
  inference?: boolean;
  import?: string[];
}

const EXAMPLES = `
  reid-native profile --config-file configs/demo/emoji_r18.yml --out logs/profile
  reid-native profile --config-file F.yml --synthetic SOLVER.IMS_PER_BATCH 16 MODEL.DEVICE cpu
  reid-native profile --config-file F.yml --inference

Prints the parts of one training step (or, with --inference, of one batch), and the modules and operators that take
longest. The step is made after others that warm up; recording makes it some percent slower. With --out, a trace is
written that chrome://tracing and ui.perfetto.dev open. Nothing is trained: weights and OUTPUT_DIR stay as they are.`;

export function profileCommand(): Command {
  return new Command('profile')
    .description('Shows what takes the time in a training step or in inference.')
    .usage('--config-file FILE [options] [KEY VALUE …]')
    .passThroughOptions()
    .requiredOption('--config-file <file>', 'configuration, in YAML')
    .option('--out <dir>', 'folder to write the trace to')
    .option('--inference', 'features of one batch instead of a training step')
    .option('--synthetic', 'random pictures instead of the training set')
    .option('--warm-up <n>', 'steps before the one that is recorded', wholeNumber, 3)
    .option('--rows <n>', 'rows of each table', wholeNumber, 15)
    .addOption(importOption())
    .argument('[overrides...]', 'KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(overrides: string[], flags: ProfileFlags): Promise<void> {
  const cfg = await loadConfig(flags.configFile, overrides);
  await importExtensions(flags.import);
  const { assertSupported } = await import('../config/index.js');
  const { resolveDevice } = await import('../engine/index.js');
  const resolved = resolveDevice(cfg).clone().defrost();
  assertSupported(resolved);
  // Nothing is to be written there.
  resolved.OUTPUT_DIR = '';
  resolved.MODEL.BACKBONE.PRETRAIN = false;
  const text = flags.inference
    ? await profileInference(resolved, flags)
    : await profileTraining(resolved, flags);
  process.stdout.write(`${text}\n`);
}

async function profileTraining(cfg: Config, flags: ProfileFlags): Promise<string> {
  const { buildStepper, DefaultTrainer, hooks, seedAll } = await import('../engine/index.js');
  const { applyMemoryFormat } = await import('../modeling/index.js');
  const torch = await import('../torch/index.js');
  const { setQuiet } = await import('../logger.js');
  setQuiet(true);
  seedAll(0);
  const loader = flags.synthetic ? undefined : DefaultTrainer.buildTrainLoader(cfg, 0);
  try {
    const scaled = DefaultTrainer.autoScaleHyperparams(cfg, loader?.dataset.numClasses ?? 751);
    const model = DefaultTrainer.buildModel(scaled);
    model.prepareTraining();
    applyMemoryFormat(model, scaled);
    torch.backends.cudnn.benchmark = scaled.CUDNN_BENCHMARK;
    const optimizer = DefaultTrainer.buildOptimizer(scaled, model);
    const batches = loader ?? (await syntheticBatches(scaled));
    const trainer = buildStepper(scaled, model as never, batches as AsyncIterable<unknown>, optimizer);
    let report = '';
    const profiler = new hooks.AutogradProfiler({
      model,
      when: ({ iter }) => iter === flags.warmUp,
      folder: flags.out,
      rows: flags.rows,
      report: (text) => {
        report = text;
      },
    });
    trainer.registerHooks([profiler]);
    try {
      await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: flags.warmUp + 1 });
    } finally {
      await trainer.close();
    }
    return report;
  } finally {
    await loader?.close();
  }
}

/** Batches of noise, with as many identities as NUM_INSTANCE allows. */
async function syntheticBatches(cfg: Config): Promise<AsyncIterable<unknown>> {
  const torch = await import('../torch/index.js');
  const { IMS_PER_BATCH: size } = cfg.SOLVER;
  const { buildTransforms } = await import('../data/index.js');
  const [height, width] = buildTransforms(cfg, true).size;
  const identities = Math.max(1, Math.floor(size / cfg.DATALOADER.NUM_INSTANCE));
  return (async function* () {
    for (;;) {
      const images = torch.randint(0, 256, [size, 3, height, width], { dtype: torch.uint8 });
      const zeros = torch.zeros([size], { dtype: torch.int64 });
      yield { images, targets: torch.arange(size).remainder(identities), camids: zeros };
    }
  })();
}

async function profileInference(cfg: Config, flags: ProfileFlags): Promise<string> {
  const { DefaultPredictor, profileReport } = await import('../engine/index.js');
  const torch = await import('../torch/index.js');
  const predictor = await DefaultPredictor.create(cfg);
  const { buildTransforms } = await import('../data/index.js');
  const [height, width] = buildTransforms(cfg, false).size;
  const images = torch.randint(0, 256, [cfg.TEST.IMS_PER_BATCH, 3, height, width], { dtype: torch.uint8 });
  const embed = (): void => torch.scope(() => void predictor.call(images));
  for (let i = 0; i < flags.warmUp; i++) embed();
  const options: ProfilerOptions = {};
  if (flags.out !== undefined) {
    mkdirSync(flags.out, { recursive: true });
    options.trace = join(flags.out, 'profiler-trace-inference.json');
  }
  using _names = torch.nameModules(predictor.model);
  const { profile } = torch.profile(embed, options);
  return profileReport(profile, undefined, { rows: flags.rows });
}
