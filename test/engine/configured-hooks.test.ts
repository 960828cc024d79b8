import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NonFiniteError } from '../../src/engine/hooks/index.js';
import { DefaultTrainer } from '../../src/engine/index.js';
import * as torch from '../../src/torch/index.js';
import { tinyConfig, writeTinySet } from './tiny.js';
import './support.js';

torch.setNumThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'reid-hooks-'));
before(async () => {
  await writeTinySet(folder);
  process.env.FASTREID_DATASETS = folder;
});
after(() => rmSync(folder, { recursive: true, force: true }));

let runs = 0;

/** Trains one epoch of four iterations with these keys; returns its OUTPUT_DIR. */
async function trained(overrides: string[], change?: (trainer: DefaultTrainer) => void): Promise<string> {
  const output = join(folder, `run${runs++}`);
  const trainer = new DefaultTrainer(tinyConfig(output, ['SOLVER.MAX_EPOCH', '1', ...overrides]), {
    seed: 1,
  });
  change?.(trainer);
  try {
    await trainer.train();
  } finally {
    await trainer.close();
  }
  return output;
}

const metrics = (output: string): Record<string, number>[] =>
  readFileSync(join(output, 'metrics.json'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);
const named = (lines: Record<string, number>[], start: string): string[] =>
  [...new Set(lines.flatMap((line) => Object.keys(line)))].filter((key) => key.startsWith(start)).sort();

test('without keys nothing is shown', async () => {
  const output = await trained([]);
  assert.deepEqual(named(metrics(output), 'health/'), []);
  assert.deepEqual(named(metrics(output), 'capture/'), []);
  for (const name of ['capture', 'profile', 'nonfinite']) assert.ok(!existsSync(join(output, name)), name);
});

test('every key of HOOKS does what it says', async () => {
  const output = await trained([
    ...['HOOKS.PARAMETERS.ENABLED', 'True', 'HOOKS.PARAMETERS.PERIOD', '2', 'HOOKS.PARAMETERS.DEPTH', '1'],
    ...['HOOKS.ACTIVATIONS.LAYERS', '("backbone.conv*",)', 'HOOKS.ACTIVATIONS.PERIOD', '1'],
    ...['HOOKS.CAPTURE.LAYERS', '("backbone.bn1", "heads")', 'HOOKS.CAPTURE.PERIOD', '3'],
    ...[
      'HOOKS.CAPTURE.WHAT',
      '("output", "grad-output")',
      'HOOKS.CAPTURE.REDUCE',
      '("norm", "channel-mean")',
    ],
    ...['HOOKS.CAPTURE.TO', '("tensorboard", "safetensors")'],
    ...['HOOKS.PROFILER.ITERS', '(1, 3)', 'HOOKS.NON_FINITE.ENABLED', 'True'],
  ]);
  const lines = metrics(output);
  const groups = ['backbone', 'heads'];
  const layers = ['backbone.conv1', 'backbone.conv2'];
  assert.deepEqual(
    named(lines, 'health/'),
    [
      ...['grad_norm', 'update_ratio'].flatMap((what) => groups.map((group) => `health/${what}/${group}`)),
      ...['mean', 'std', 'dead'].flatMap((what) => layers.map((layer) => `health/${what}/${layer}`)),
    ].sort(),
  );
  // Every iteration is in reach of metrics.json's last line: it holds the latest value of each.
  assert.ok(named(lines, 'capture/').includes('capture/backbone.bn1/gradOutput/norm'));
  assert.deepEqual(readdirSync(join(output, 'capture')), [
    'iter_0000000.safetensors',
    'iter_0000003.safetensors',
  ]);
  const seen = torch.loadSafetensors(join(output, 'capture/iter_0000003.safetensors'));
  assert.deepEqual(seen.get('backbone.bn1/output/channelMean')!.shape, [8]);
  assert.deepEqual(readdirSync(join(output, 'profile')), [
    'profiler-trace-iter1.json',
    'profiler-trace-iter3.json',
  ]);
  assert.ok(!existsSync(join(output, 'nonfinite')), 'nothing was wrong');
});

test('what is not finite ends the training, and the batch is kept', async () => {
  let output = '';
  await assert.rejects(
    trained(['HOOKS.NON_FINITE.ENABLED', 'True'], ({ cfg, model }) => {
      output = cfg.OUTPUT_DIR;
      const conv = model.getModule('backbone.conv2') as unknown as torch.nn.Conv2d;
      torch.noGrad(() => conv.bias!.fill_(Number.NaN));
    }),
    (error: NonFiniteError) => {
      assert.ok(error instanceof NonFiniteError);
      assert.equal(error.module, 'backbone.conv2');
      return true;
    },
  );
  assert.deepEqual(readdirSync(join(output, 'nonfinite')), ['nonfinite_iter_0000000.safetensors']);
});

test('what cannot be is refused, with the name of the key', () => {
  const refused = (overrides: string[], message: RegExp): void => {
    const cfg = tinyConfig(join(folder, 'refused'), overrides);
    assert.throws(() => new DefaultTrainer(cfg, { seed: 1 }), message);
  };
  const on = ['HOOKS.PARAMETERS.ENABLED', 'True'];
  const captured = ['HOOKS.CAPTURE.LAYERS', '("backbone",)'];
  refused(
    [...on, 'HOOKS.PARAMETERS.PERIOD', '0'],
    /^Error: HOOKS\.PARAMETERS\.PERIOD is 0; it must be 1 or more/,
  );
  refused([...on, 'HOOKS.PARAMETERS.DEPTH', '-1'], /HOOKS\.PARAMETERS\.DEPTH is -1/);
  refused(
    ['HOOKS.ACTIVATIONS.LAYERS', '("backbone.cnv*",)'],
    /HOOKS\.ACTIVATIONS\.LAYERS: no module .* matches 'backbone\.cnv\*'; 'backbone' has: conv1, bn1, conv2, dropout/,
  );
  refused([...captured, 'HOOKS.CAPTURE.PERIOD', '0'], /HOOKS\.CAPTURE\.PERIOD is 0/);
  refused(
    [...captured, 'HOOKS.CAPTURE.WHAT', '("grads",)'],
    /HOOKS\.CAPTURE\.WHAT: 'grads' is none of: input, output/,
  );
  refused(
    [...captured, 'HOOKS.CAPTURE.REDUCE', '()'],
    /HOOKS\.CAPTURE\.REDUCE: it is empty; there are: full, mean/,
  );
  refused(
    [...captured, 'HOOKS.CAPTURE.TO', '("memory",)'],
    /HOOKS\.CAPTURE\.TO: 'memory' is none of: safetensors, tens/,
  );
  refused(
    ['HOOKS.CAPTURE.LAYERS', '("neck",)'],
    /HOOKS\.CAPTURE\.LAYERS: .*no sub-module 'neck'; it has: backbone, heads/,
  );
  refused(['HOOKS.PROFILER.ITERS', '(0, 12)'], /HOOKS\.PROFILER\.ITERS: 12 is no iteration of 0 to 11/);
});
