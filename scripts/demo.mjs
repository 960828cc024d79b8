// The demo: emoji re-identification from nothing to a table. Renders the pictures, trains, evaluates, and says where
// everything is. A second run goes on where the first one stopped, or shows what it left.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  affordableEpochs,
  CONFIG,
  demoState,
  lastResults,
  lengthOverrides,
  parseDemo,
  QUICK,
  readSettings,
  timeNote,
} from './lib/demo.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const launcher = join(root, 'bin/reid-native.js');

const HELP = `Usage: npm run demo [-- OPTIONS] [KEY VALUE ...]

Renders emoji as six vendors draw them, trains a network to recognise an emoji in another vendor's drawing,
and evaluates it. KEY VALUE pairs override ${CONFIG}.

Options:
  --epochs N  train N epochs. Without it, as many of the configuration's as this machine does in about 6 minutes
  --quick     a few iterations on a small part, in about a minute: does everything run?
  --again     train from the start although an earlier run has finished or been interrupted
`;

/** Runs a sub-command on this terminal. Ctrl-C is the sub-command's: it saves, and we wait for it. */
function reidNative(args, env) {
  const child = spawn(process.execPath, [launcher, ...args], { cwd: root, env, stdio: 'inherit' });
  const ignore = () => {};
  const pass = () => child.kill('SIGTERM');
  process.on('SIGINT', ignore).on('SIGTERM', pass);
  return new Promise((done) => {
    child.on('exit', (code, signal) => {
      process.removeListener('SIGINT', ignore).removeListener('SIGTERM', pass);
      done(code ?? (signal === 'SIGINT' ? 130 : 1));
    });
  });
}

function title(text) {
  process.stdout.write(`\n== ${text}\n`);
}

/** Runs a program to its end and returns what it printed; throws with its errors where it failed. */
function outputOf(args, env) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr.trim().replace(/^error: /, '') || `${args.join(' ')} was stopped`);
  return stdout;
}

/** What an earlier run left in `output`, as `demoState` wants it. */
function earlierRun(output) {
  const text = (name) => {
    const path = join(output, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : null;
  };
  const config = text('config.yaml');
  return {
    checkpoint: text('last_checkpoint')?.trim() ?? null,
    epochs: config && readSettings(config).maxEpoch,
  };
}

/** The pairs that set the number of epochs: the one asked for, else what this machine does in the time. */
function chosenLength(settings, epochs, values, env) {
  if (epochs !== null) return lengthOverrides(settings, epochs);
  process.stdout.write('Measuring how fast this machine trains\n');
  const lines = outputOf([join(root, 'scripts/demo-speed.mjs'), CONFIG, ...values], env)
    .trimEnd()
    .split('\n');
  const speed = JSON.parse(lines.at(-1));
  const affordable = affordableEpochs(speed, settings.maxEpoch);
  process.stdout.write(`${timeNote(speed, affordable, settings.maxEpoch)}\n`);
  return affordable === settings.maxEpoch ? [] : lengthOverrides(settings, affordable);
}

async function demo(args) {
  const { quick, again, help, epochs, overrides } = parseDemo(args);
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const env = { ...process.env };
  if (quick) env.FASTREID_DATASETS = join(QUICK.folder, 'datasets');
  const values = [...(quick ? QUICK.overrides : []), ...overrides];

  title('1/2 pictures');
  const prepared = await reidNative(
    ['prepare', 'emoji', ...(quick ? ['--limit', String(QUICK.limit)] : [])],
    env,
  );
  if (prepared !== 0) return prepared;

  const settings = readSettings(outputOf([launcher, 'config', '--config-file', CONFIG, ...values], env));
  const output = resolve(root, settings.output);
  // The quick run exists to run everything, so it always does.
  const state = demoState(earlierRun(output), { again: again || quick, epochs });

  const run = () => {
    // Whatever it was begun with, its own configuration goes on with it.
    if (state === 'resume') return ['--config-file', join(output, 'config.yaml'), '--resume', ...overrides];
    // What is left of a run before, should this one be interrupted, is not this one's.
    rmSync(join(output, 'last_checkpoint'), { force: true });
    const given = quick || overrides.includes('SOLVER.MAX_EPOCH');
    return [
      '--config-file',
      CONFIG,
      ...(given ? [] : chosenLength(settings, epochs, values, env)),
      ...values,
    ];
  };

  title(`2/2 training${state === 'resume' ? ', resumed where it was interrupted' : ''}`);
  if (state === 'finished') {
    process.stdout.write('Finished by an earlier run. To train again: npm run demo -- --again\n');
  } else {
    const code = await reidNative(['train', ...run()], env);
    if (code !== 0) {
      if (code === 130) process.stdout.write('\nInterrupted. To go on: npm run demo\n');
      return code;
    }
  }
  await summary(output);
  return 0;
}

async function summary(output) {
  const { resultsTable } = await import('../dist/src/evaluation/results.js');
  const metrics = join(output, 'metrics.json');
  const results = existsSync(metrics) ? lastResults(readFileSync(metrics, 'utf8'), 'EmojiReID') : null;
  title('Result: query pictures of one vendor, searched among those of the others');
  process.stdout.write(results ? `${resultsTable(results)}\n` : `no evaluation in ${metrics}\n`);
  const files = {
    'model_final.pth': 'the model; Python torch.load reads it too',
    'metrics.json': 'losses, rates and measures, one JSON object a line',
    'log.txt': 'everything printed',
    'config.yaml': 'every setting of this run',
  };
  process.stdout.write(`\nWritten to ${output}\n`);
  for (const [name, what] of Object.entries(files)) {
    if (existsSync(join(output, name))) process.stdout.write(`  ${name.padEnd(16)} ${what}\n`);
  }
}

try {
  process.exitCode = await demo(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`error: ${error.message}\n`);
  process.exitCode = 1;
}
