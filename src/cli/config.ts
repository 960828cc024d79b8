import { Command } from 'commander';
import type { Config } from '../config/index.js';
import { positive } from './numbers.js';
import { loadConfig } from './overrides.js';

interface ConfigFlags {
  configFile?: string;
  diff: boolean;
  schedule: boolean;
  itersPerEpoch?: number;
}

const EXAMPLES = `
  reid-native config --config-file F.yml SOLVER.BASE_LR 1e-3
  reid-native config --config-file F.yml --diff
  reid-native config --config-file F.yml --schedule
  reid-native config --schedule --iters-per-epoch 200 SOLVER.SCHED CosineAnnealingLR`;

export function configCommand(): Command {
  return new Command('config')
    .description('Prints the configuration that a file and overrides make, as YAML, or its learning rates.')
    .usage('[--config-file FILE] [options] [KEY VALUE …]')
    .passThroughOptions()
    .option('--config-file <file>', 'configuration, in YAML; without it, the defaults')
    .option('--diff', 'print only what differs from the defaults', false)
    .option('--schedule', 'print the learning rate, epoch by epoch', false)
    .option(
      '--iters-per-epoch <n>',
      'length of an epoch, for --schedule; without it, counted from the training set',
      positive,
    )
    .argument('[overrides...]', 'KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(overrides: string[], flags: ConfigFlags): Promise<void> {
  const cfg = await loadConfig(flags.configFile, overrides);
  if (flags.schedule) {
    process.stdout.write(await scheduleText(cfg, flags.itersPerEpoch));
    return;
  }
  const { getCfg, unsupported } = await import('../config/index.js');
  process.stdout.write(flags.diff ? cfg.dumpDiff(getCfg()) : cfg.dump());
  for (const { message } of unsupported(cfg)) process.stderr.write(`note: train refuses this: ${message}\n`);
}

async function scheduleText(cfg: Config, given: number | undefined): Promise<string> {
  const { scheduleTable } = await import('../solver/schedule.js');
  const iters = given ?? (await countIterations(cfg));
  const rate = (lr: number): string => lr.toExponential(4).padStart(12);
  const rows = scheduleTable(cfg, iters).map(
    ({ epoch, firstLr, lastLr }) => `${String(epoch).padStart(5)}${rate(firstLr)}${rate(lastLr)}\n`,
  );
  return (
    `# ${cfg.SOLVER.SCHED} with a warm-up of ${cfg.SOLVER.WARMUP_ITERS} iterations; ${iters} iterations an epoch\n` +
    `# learning rate at an epoch's first and last iteration; SOLVER.STEPS count from the end of the warm-up\n` +
    `epoch${'first'.padStart(12)}${'last'.padStart(12)}\n${rows.join('')}`
  );
}

/** Whole batches in one pass over the training set. */
async function countIterations(cfg: Config): Promise<number> {
  const { openDataset, ownOptions } = await import('../data/datasets/index.js');
  const help =
    'give the length of an epoch with --iters-per-epoch N (images / SOLVER.IMS_PER_BATCH, rounded down)';
  let images = 0;
  try {
    for (const name of cfg.DATASETS.NAMES) {
      const dataset = openDataset(name, { combineAll: cfg.DATASETS.COMBINEALL, own: ownOptions(cfg) });
      images += dataset.train.length;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the training set, which says how long an epoch is, cannot be read; ${help}.\n${reason}`);
  }
  const iters = Math.floor(images / cfg.SOLVER.IMS_PER_BATCH);
  if (iters > 0) return iters;
  throw new Error(
    `${images} images make no batch of SOLVER.IMS_PER_BATCH ${cfg.SOLVER.IMS_PER_BATCH}; ${help}`,
  );
}
