// The demo: emoji re-identification from nothing to a table. Renders the pictures, trains, evaluates, and says where
// everything is. A second run goes on where the first one stopped, or shows what it left.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CONFIG, demoState, lastResults, outputDirectory, parseDemo, QUICK } from './lib/demo.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const launcher = join(root, 'bin/reid-native.js');

const HELP = `Usage: npm run demo [-- OPTIONS] [KEY VALUE ...]

Renders emoji as six vendors draw them, trains a network to recognise an emoji in another vendor's drawing,
and evaluates it. KEY VALUE pairs override ${CONFIG}.

Options:
  --quick   a few iterations on a small part, in about a minute: does everything run?
  --again   train from the start although an earlier run has finished or been interrupted
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

async function demo(args) {
  const { quick, again, help, overrides } = parseDemo(args);
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const env = { ...process.env };
  if (quick) env.FASTREID_DATASETS = join(QUICK.folder, 'datasets');
  const settings = ['--config-file', CONFIG];
  const values = [...(quick ? QUICK.overrides : []), ...overrides];

  title('1/2 pictures');
  const prepared = await reidNative(
    ['prepare', 'emoji', ...(quick ? ['--limit', String(QUICK.limit)] : [])],
    env,
  );
  if (prepared !== 0) return prepared;

  const shown = spawnSync(process.execPath, [launcher, 'config', ...settings, ...values], {
    cwd: root,
    env,
    encoding: 'utf8',
  });
  if (shown.status !== 0) {
    process.stderr.write(shown.stderr);
    return shown.status ?? 1;
  }
  const output = resolve(root, outputDirectory(shown.stdout));
  // The quick run exists to run everything, so it always does.
  const state = demoState((name) => existsSync(join(output, name)), again || quick);

  title(`2/2 training${state === 'resume' ? ', resumed where it was interrupted' : ''}`);
  if (state === 'finished') {
    process.stdout.write('Finished by an earlier run. To train again: npm run demo -- --again\n');
  } else {
    const code = await reidNative(
      ['train', ...settings, ...(state === 'resume' ? ['--resume'] : []), ...values],
      env,
    );
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
