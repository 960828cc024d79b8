import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { UsageError } from './errors.js';

/**
 * Sub-commands with the line that `--help` shows. What they need is imported when they are called: `--help` must
 * not wait for libtorch.
 */
const COMMANDS: Record<string, { summary: string; load: () => Promise<Command> }> = {
  train: {
    summary: 'train a model, or with --eval-only evaluate one',
    load: async () => (await import('./train.js')).trainCommand(),
  },
  embed: {
    summary: 'compute the features of images',
    load: async () => (await import('./embed.js')).embedCommand(),
  },
  evaluate: {
    summary: 'evaluate features that embed has written',
    load: async () => (await import('./evaluate.js')).evaluateCommand(),
  },
  search: {
    summary: 'find the nearest images of an index',
    load: async () => (await import('./search.js')).searchCommand(),
  },
  visualize: {
    summary: 'draw what a model gets right and wrong',
    load: async () => (await import('./visualize.js')).visualizeCommand(),
  },
  config: {
    summary: 'print the merged configuration or the learning-rate schedule',
    load: async () => (await import('./config.js')).configCommand(),
  },
  model: {
    summary: "print a model's modules, output shapes, parameters and MACs",
    load: async () => (await import('./model.js')).modelCommand(),
  },
  data: {
    summary: 'print statistics of data sets and draw training batches',
    load: async () => (await import('./data.js')).dataCommand(),
  },
  prepare: {
    summary: 'prepare a data set',
    load: async () => (await import('./prepare.js')).prepareCommand(),
  },
  capture: {
    summary: 'write what chosen layers of a trained model see and give',
    load: async () => (await import('./capture.js')).captureCommand(),
  },
  explain: {
    summary: 'show where two images agree',
    load: async () => (await import('./explain.js')).explainCommand(),
  },
  plot: {
    summary: 'draw losses, learning rate and results of trainings',
    load: async () => (await import('./plot.js')).plotCommand(),
  },
  profile: {
    summary: 'show what takes the time in a training step',
    load: async () => (await import('./profile.js')).profileCommand(),
  },
  doctor: {
    summary: 'check Node, addon, libtorch and devices',
    load: async () => (await import('./doctor.js')).doctorCommand(),
  },
};

function version(): string {
  // From dist/src/cli and from src/cli alike, the package is found by looking upwards.
  for (const up of ['../../', '../../../']) {
    try {
      const text = readFileSync(new URL(`${up}package.json`, import.meta.url), 'utf8');
      const { name, version } = JSON.parse(text) as { name?: string; version?: string };
      if (name === 'reid-native' && version) return version;
    } catch {
      // Not at this level.
    }
  }
  return 'unknown';
}

/** Usage errors and `--help` come back as exceptions instead of ending the process. */
function overrideExit(command: Command): void {
  command.exitOverride();
  for (const sub of command.commands) overrideExit(sub);
}

async function buildProgram(chosen: string | undefined): Promise<Command> {
  const program = new Command('reid-native')
    .description('Re-identification on libtorch: train, evaluate, embed.')
    .version(version(), '-V, --version')
    .enablePositionalOptions()
    .option('--verbose', 'show where an error came from')
    .addHelpText('after', '\nreid-native COMMAND --help tells more about a command.');
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const command = name === chosen ? await load() : new Command(name);
    program.addCommand(command.name(name).summary(summary));
  }
  overrideExit(program);
  return program;
}

function report(error: unknown, verbose: boolean): number {
  if (error instanceof CommanderError) {
    // Commander has printed its message; its exit code is 0 for --help and --version.
    return error.exitCode === 0 ? 0 : 2;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`error: ${message}\n`);
  if (verbose && error instanceof Error && error.stack) process.stderr.write(`${error.stack}\n`);
  if (error instanceof UsageError) return 2;
  // Errors of the language are never meant for users: they are bugs, here or in an extension.
  const bug = error instanceof TypeError || error instanceof ReferenceError;
  if (bug && !verbose) process.stderr.write('(--verbose shows where)\n');
  return 1;
}

/**
 * Runs the command line. Returns the exit code: 0, 1 for an error while running, 2 for a wrong command line, and
 * for a run stopped by a signal what shells expect (130 for Ctrl-C).
 */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<number> {
  const verbose = argv.includes('--verbose') || Boolean(process.env.DEBUG);
  const args = argv.filter((arg) => arg !== '--verbose');
  const first = args.find((arg) => !arg.startsWith('-'));
  const chosen = first === 'help' ? args[args.indexOf('help') + 1] : first;
  try {
    const program = await buildProgram(chosen);
    if (args.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    return report(error, verbose);
  }
}
