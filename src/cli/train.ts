import { Command } from 'commander';
import type { Config } from '../config/index.js';
import { logger } from '../logger.js';
import { UsageError } from './errors.js';
import { importExtensions, importOption } from './extensions.js';
import { positive, wholeNumber } from './numbers.js';
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
  distTimeout: number;
  lostAfter: number;
  maxRestarts: number;
}

const EXAMPLES = `
KEY VALUE pairs override the file, with FastReID's keys:
  reid-native train --config-file configs/demo/emoji_r18.yml
  reid-native train --config-file F.yml MODEL.DEVICE cpu SOLVER.IMS_PER_BATCH 32 OUTPUT_DIR logs/try
  reid-native train --config-file F.yml --resume
  reid-native train --config-file F.yml --eval-only MODEL.WEIGHTS logs/try/model_final.pth

Several processes (SOLVER.IMS_PER_BATCH counts the images of all of them); so too under torchrun or srun:
  reid-native train --config-file F.yml --num-gpus 4
  reid-native train --config-file F.yml --num-gpus 2 MODEL.DEVICE cpu
  reid-native train --config-file F.yml --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://host0:29500

Ctrl-C finishes the step, saves and says how to go on; a second Ctrl-C exits at once.`;

export function trainCommand(): Command {
  return new Command('train')
    .description('Trains and evaluates a model as a configuration file says.')
    .usage('--config-file FILE [options] [KEY VALUE …]')
    .passThroughOptions()
    .requiredOption('--config-file <file>', 'configuration, in YAML')
    .option('--resume', 'go on from the last checkpoint in OUTPUT_DIR, if there is one', false)
    .option('--eval-only', 'evaluate MODEL.WEIGHTS on DATASETS.TESTS, without training', false)
    .option('--seed <n>', 'seed of all random numbers', wholeNumber, 0)
    .addOption(importOption())
    .option(
      '--num-gpus <n>',
      'processes on this machine: one a GPU, or with MODEL.DEVICE cpu as many as you like',
      positive,
      1,
    )
    .option('--num-machines <n>', 'machines', positive, 1)
    .option('--machine-rank <n>', 'number of this machine, from 0', wholeNumber, 0)
    .option(
      '--dist-url <url>',
      'where the processes meet: auto, tcp://HOST:PORT of machine 0, or file:///PATH',
      'auto',
    )
    .option('--dist-timeout <seconds>', 'longest time an exchange between processes may take', positive, 1800)
    .option('--lost-after <seconds>', 'give up a process that is silent for so long', wholeNumber, 60)
    .option(
      '--max-restarts <n>',
      'after a failure, go on from the last checkpoint, at most so often',
      wholeNumber,
      0,
    )
    .argument('[overrides...]', 'KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(overrides: string[], flags: TrainFlags): Promise<void> {
  const cfg = await loadConfig(flags.configFile, overrides);
  if (flags.evalOnly && !cfg.MODEL.WEIGHTS) {
    throw new UsageError('--eval-only needs weights: add MODEL.WEIGHTS FILE at the end');
  }
  const { numGpus, numMachines, machineRank, lostAfter } = flags;
  if (machineRank >= numMachines) {
    throw new UsageError(
      `--machine-rank ${machineRank} of ${numMachines} machines: they are numbered from 0`,
    );
  }
  // Signs of life come once a second, and a busy machine may be late with some.
  if (lostAfter < 5) throw new UsageError(`--lost-after ${lostAfter} is too short: at least 5 seconds`);
  // Not by way of the engine's index: a launcher has no need of libtorch.
  const { launch } = await import('../engine/launch.js');
  await launch(() => trainHere(cfg, overrides, flags), {
    numGpus,
    numMachines,
    machineRank,
    distUrl: flags.distUrl,
    timeout: flags.distTimeout,
    lostAfter,
    maxRestarts: flags.maxRestarts,
    logDir: cfg.OUTPUT_DIR || '.',
  });
}

/** Trains, as one of several processes or alone. */
async function trainHere(cfg: Config, overrides: string[], flags: TrainFlags): Promise<void> {
  await importExtensions(flags.import);
  const { DefaultTrainer, defaultSetup, isRestart, signalExitCode, stopOnSignals } = await import(
    '../engine/index.js'
  );
  defaultSetup(cfg, { configFile: flags.configFile, seed: flags.seed, overrides, evalOnly: flags.evalOnly });
  if (flags.evalOnly) {
    await DefaultTrainer.evaluateOnly(cfg);
    return;
  }
  const trainer = new DefaultTrainer(cfg);
  const restoreSignals = stopOnSignals(trainer);
  try {
    await trainer.resumeOrLoad({ resume: flags.resume || isRestart() });
    await trainer.train();
  } catch (error) {
    const { lastSaved } = trainer.checkpointer;
    if (lastSaved !== undefined) {
      logger.error(`Training failed. To go on from ${lastSaved}, run the same command with --resume`);
    }
    throw error;
  } finally {
    restoreSignals();
    await trainer.close();
  }
  if (trainer.outcome === 'stopped') process.exitCode = signalExitCode(trainer.stopReason ?? '');
}
