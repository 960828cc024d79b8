// npm run bench -- [SUITE…] [--rounds N] [--only NAMES] [--save]

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import * as torch from '../src/torch/index.js';
import { repoRoot } from '../test/support/paths.js';
import { type Figure, machine, type Result, table } from './compare.js';
import { cuda, cudaMissing } from './cuda.js';
import { data } from './data.js';
import { distributed } from './distributed.js';
import { evaluation } from './evaluation.js';
import { hooks } from './hooks.js';
import { models } from './models.js';
import { operators } from './operators.js';
import { search } from './search.js';
import { start } from './start.js';
import { step } from './step.js';

interface Suite {
  about: string;
  rounds: number;
  /** `only` names parts of the suite, where it has any; `tiny` asks it to run in small, where it can. */
  run: (rounds: number, only?: string[], tiny?: boolean) => Figure[] | Promise<Figure[]>;
  /** Why it cannot run here, if so: then it is left out, unless it was asked for by name. */
  missing?: () => string | undefined;
}

const suites: Record<string, Suite> = {
  operators: { about: 'cost of one operator call', rounds: 5, run: operators },
  step: { about: 'ResNet-50 training step, wall time and peak memory', rounds: 3, run: step },
  models: {
    about: 'training and inference of every family of backbones at 128×64, batch 8',
    rounds: 3,
    run: models,
  },
  evaluation: { about: 'distances, ranking and re-ranking', rounds: 1, run: evaluation },
  search: { about: 'exact search among features of 128 numbers, one thread', rounds: 3, run: search },
  hooks: { about: 'cost of hooks, by call and in a ResNet-50 training step', rounds: 2, run: hooks },
  data: { about: 'training loader at 256×128 on JPEGs of 128×64', rounds: 3, run: data },
  distributed: {
    about: 'two processes: all_reduce of 100 MB, data-parallel step of ResNet-18 at 128×64, batch 4 each',
    rounds: 3,
    run: distributed,
  },
  cuda: {
    about: 'training of the bag-of-tricks ResNet-50 at 256×128 on a GPU',
    rounds: 1,
    run: (rounds, only, tiny) => cuda(rounds, { only, tiny }),
    missing: cudaMissing,
  },
  start: { about: 'start-up times', rounds: 3, run: start },
};

const listing = Object.entries(suites)
  .map(([name, { about }]) => `  ${name.padEnd(10)} ${about}`)
  .join('\n');

const program = new Command('npm run bench --')
  .description('Measures reid-native side by side with Python PyTorch on the same libtorch.')
  .argument('[suites...]', 'which to run; all by default')
  .option('--rounds <n>', 'child processes of each kind', Number)
  .option('--only <names>', 'parts of a suite to measure, with commas between them', (names) =>
    names.split(','),
  )
  .option('--save', 'write bench/results/<suite>.json; with --only its other figures stay')
  .option('--tiny', 'of cuda: in small, to try whether everything runs; its figures mean nothing')
  .addHelpText('after', `\nSuites:\n${listing}`);
program.parse();

const { only, tiny, ...options } = program.opts<{
  rounds?: number;
  only?: string[];
  save?: boolean;
  tiny?: boolean;
}>();
if (tiny && options.save) program.error('--tiny measures nothing worth to --save');
const chosen = program.args.length > 0 ? program.args : Object.keys(suites);
for (const name of chosen) {
  const suite = suites[name];
  if (suite === undefined) program.error(`unknown suite '${name}'; there are:\n${listing}`);
  const missing = suite.missing?.();
  if (missing !== undefined) {
    if (program.args.length > 0) program.error(`${name}: ${missing}`);
    process.stdout.write(`\n## ${name}: left out: ${missing}\n`);
    continue;
  }
  const rounds = options.rounds ?? suite.rounds;
  const figures = await suite.run(rounds, only, tiny);
  const versions = { libtorch: torch.version(), node: process.version };
  process.stdout.write(`\n## ${name}: ${suite.about}\n\n${table(figures)}\n`);
  if (options.save) {
    const result: Result = {
      suite: name,
      command: `npm run bench -- ${name} --rounds ${rounds}${only === undefined ? '' : ` --only ${only}`}`,
      machine: `${machine()}${torch.cuda.isAvailable() ? `, ${torch.cuda.getDeviceProperties().name}` : ''}`,
      versions,
      rounds,
      figures,
    };
    const folder = join(repoRoot, 'bench/results');
    mkdirSync(folder, { recursive: true });
    const file = join(folder, `${name}.json`);
    const saved = only === undefined ? result : withOthers(result, file);
    writeFileSync(file, `${JSON.stringify(saved, null, 2)}\n`);
  }
}

/** Adds what the file has of other parts of the suite, measured alike: same machine, versions and rounds. */
function withOthers(result: Result, file: string): Result {
  if (!existsSync(file)) return result;
  const before = JSON.parse(readFileSync(file, 'utf8')) as Result;
  const conditions = ({ machine, versions, rounds }: Result): string =>
    JSON.stringify([machine, versions, rounds]);
  if (conditions(before) !== conditions(result)) {
    process.stderr.write(`${file} was measured under other conditions, and is replaced\n`);
    return result;
  }
  const others = before.figures.filter((one) => result.figures.every((figure) => figure.name !== one.name));
  const commands = before.command.split('; ').filter((command) => command !== result.command);
  return {
    ...result,
    command: [...commands, result.command].join('; '),
    figures: [...others, ...result.figures],
  };
}
