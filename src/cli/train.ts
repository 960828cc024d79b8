import { Command, InvalidArgumentError } from 'commander';
import { UsageError } from './errors.js';
import { importExtensions, importOption } from './extensions.js';
import { loadConfig } from './overrides.js';

interface TrainFlags {
  configFile: string;
  resume: boolean;
  evalOnly: boolean;
  seed: number;
  import?: string[];
  numGpus: number;
  numMachines: number;
  machineRank: number;
  distUrl: string;
}

function integer(text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 0) throw new InvalidArgumentError('expected a whole number, 0 or more.');
  return n;
}

const EXAMPLES = `
KEY VALUE pairs override the file, with FastReID's keys:
  reid-native train --config-file configs/demo/emoji_r18.yml
  reid-native train --config-file F.yml MODEL.DEVICE cpu SOLVER.IMS_PER_BATCH 32 OUTPUT_DIR logs/try
  reid-native train --config-file F.yml --resume
  reid-native train --config-file F.yml --eval-only MODEL.WEIGHTS logs/try/model_final.pth

Ctrl-C finishes the step, saves and says how to go on; a second Ctrl-C exits at once.`;

export function trainCommand(): Command {
  return new Command('train')
    .description('Trains and evaluates a model as a configuration file says.')
    .usage('--config-file FILE [options] [KEY VALUE …]')
    .passThroughOptions()
    .requiredOption('--config-file <file>', 'configuration, in YAML')
    .option('--resume', 'go on from the last checkpoint in OUTPUT_DIR, if there is one', false)
    .option('--eval-only', 'evaluate MODEL.WEIGHTS on DATASETS.TESTS, without training', false)
    .option('--seed <n>', 'seed of all random numbers', integer, 0)
    .addOption(importOption())
    .option('--num-gpus <n>', 'GPUs on this machine', integer, 1)
    .option('--num-machines <n>', 'machines', integer, 1)
    .option('--machine-rank <n>', 'number of this machine, from 0', integer, 0)
    .option('--dist-url <url>', 'where the processes meet; auto finds a free port', 'auto')
    .argument('[overrides...]', 'KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(overrides: string[], flags: TrainFlags): Promise<void> {
  if (flags.numGpus > 1 || flags.numMachines > 1) {
    throw new UsageError(
      'training on several GPUs or machines is not there yet; leave out --num-gpus and --num-machines',
    );
  }
  const cfg = await loadConfig(flags.configFile, overrides);
  if (flags.evalOnly && !cfg.MODEL.WEIGHTS) {
    throw new UsageError('--eval-only needs weights: add MODEL.WEIGHTS FILE at the end');
  }
  await importExtensions(flags.import);
  const { DefaultTrainer, defaultSetup, signalExitCode, stopOnSignals } = await import('../engine/index.js');
  defaultSetup(cfg, { configFile: flags.configFile, seed: flags.seed, overrides, evalOnly: flags.evalOnly });
  if (flags.evalOnly) {
    await DefaultTrainer.evaluateOnly(cfg);
    return;
  }
  const trainer = new DefaultTrainer(cfg);
  const restoreSignals = stopOnSignals(trainer);
  try {
    await trainer.resumeOrLoad({ resume: flags.resume });
    await trainer.train();
  } finally {
    restoreSignals();
    await trainer.close();
  }
  if (trainer.outcome === 'stopped') process.exitCode = signalExitCode(trainer.stopReason ?? '');
}
