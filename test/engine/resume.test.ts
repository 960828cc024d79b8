import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { writeTinySet } from './tiny.js';
import { type Ended, runTiny, type Watch } from './tiny-run.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-resume-'));

/** Steps of a new training take long enough to be interrupted. */
function train(
  name: string,
  args: string[],
  watch?: Watch,
  stepMs = args.length > 0 ? 0 : 20,
): Promise<Ended> {
  const environment = { FASTREID_DATASETS: join(folder, 'data'), STEP_MS: String(stepMs) };
  return runTiny([join(folder, name), ...args], environment, watch);
}

/** Everything in a checkpoint, tensors as bytes, for comparison. */
async function content(name: string, file = 'model_final.pth'): Promise<unknown> {
  const flatten = (value: unknown): unknown => {
    if (value instanceof torch.Tensor) {
      const bytes = value.toTypedArray() as Uint8Array;
      return {
        dtype: value.dtype.name,
        shape: value.shape,
        bytes: Buffer.from(bytes.buffer).toString('base64'),
      };
    }
    if (value instanceof Map) {
      // Durations differ between any two runs.
      const entries = [...value].filter(([k]) => !['time', 'data_time', 'eta_seconds'].includes(String(k)));
      // A loaded dict is written back in its own order, which means nothing.
      return Object.fromEntries(entries.map(([k, v]) => [String(k), flatten(v)]));
    }
    return Array.isArray(value) ? value.map(flatten) : value;
  };
  return flatten(await torch.load(join(folder, name, file)));
}

/** metrics.json without durations. */
function metrics(name: string): Record<string, number>[] {
  const lines = readFileSync(join(folder, name, 'metrics.json'), 'utf8')
    .trim()
    .split('\n');
  return lines.map((line) => {
    const { time, data_time, eta_seconds, ...rest } = JSON.parse(line) as Record<string, number>;
    return rest;
  });
}

before(async () => {
  await writeTinySet(join(folder, 'data'));
  const { code, output } = await train('whole', []);
  assert.equal(code, 0, output);
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('killed after an epoch and resumed: the same as never stopped, bit for bit', async () => {
  // The checkpoint of epoch 0 is followed by its console line, then by steps of epoch 1.
  const killed = await train('killed', [], (output, kill) => output.includes('step 5\n') && kill('SIGKILL'));
  assert.equal(killed.signal, 'SIGKILL');
  assert.ok(!existsSync(join(folder, 'killed/model_final.pth')));
  const resumed = await train('killed', ['--resume']);
  assert.equal(resumed.code, 0, resumed.output);
  assert.match(resumed.output, /Starting training from epoch 1\n/);
  assert.deepEqual(await content('killed'), await content('whole'));
  assert.deepEqual(metrics('killed'), metrics('whole'));
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} in mid-epoch saves, says how to go on, and resuming gives the same, bit for bit`, async () => {
    let sent = false;
    const stopped = await train(signal, [], (output, kill) => {
      if (!sent && output.includes('step 5\n')) {
        sent = true;
        kill(signal);
      }
    });
    assert.equal(stopped.code, signal === 'SIGINT' ? 130 : 143, stopped.output);
    assert.match(stopped.output, new RegExp(`${signal}: stopping after the step in progress`));
    assert.match(
      stopped.output,
      /after iteration \d+ of 12\. To go on from here, run the same command with --resume/,
    );
    assert.equal(readFileSync(join(folder, signal, 'last_checkpoint'), 'utf8'), 'model_interrupted.pth');
    const resumed = await train(signal, ['--resume']);
    assert.equal(resumed.code, 0, resumed.output);
    assert.match(resumed.output, /Starting training from epoch 1, iteration \d+/);
    assert.deepEqual(await content(signal), await content('whole'));
    // The stop wrote a line more than the run in one go has.
    const ends = metrics('whole').map(({ iteration }) => iteration);
    assert.deepEqual(
      metrics(signal).filter(({ iteration }) => ends.includes(iteration)),
      metrics('whole'),
    );
  });
}

test('a second signal ends at once', async () => {
  let sent = 0;
  const twice = (text: string, kill: (signal: NodeJS.Signals) => void): void => {
    if (sent === 0 && text.includes('step 1\n')) {
      sent = 1;
      kill('SIGINT');
    } else if (sent === 1 && text.includes('once more exits at once')) {
      sent = 2;
      kill('SIGINT'); // npm's of the same Ctrl-C
      setTimeout(() => kill('SIGINT'), 400);
    }
  };
  const { code, output } = await train('twice', [], twice, 2000);
  assert.equal(code, 130, output);
  assert.doesNotMatch(output, /To go on from here/);
});

test('resuming a finished training evaluates and does nothing else', async () => {
  const before = readFileSync(join(folder, 'whole/model_final.pth'));
  const { code, output } = await train('whole', ['--resume']);
  assert.equal(code, 0, output);
  assert.match(output, /Training is complete: 3 of 3 epochs are done/);
  assert.match(output, /\| EmojiReID \|/);
  assert.ok(before.equals(readFileSync(join(folder, 'whole/model_final.pth'))));
});

test('resuming where there is nothing starts anew', async () => {
  const { code, output } = await train('nothing', ['--resume']);
  assert.equal(code, 0, output);
  assert.match(output, /to resume from: starting anew/);
  assert.deepEqual(await content('nothing'), await content('whole'));
});

test('resuming on other data is refused', async () => {
  const { code, output } = await train('whole', [
    '--resume',
    'SOLVER.IMS_PER_BATCH',
    '2',
    'SOLVER.MAX_EPOCH',
    '9',
  ]);
  assert.notEqual(code, 0);
  assert.match(
    output,
    /cannot resume: the checkpoint was made on 18 images of 6 identities, batches of 4, now there/,
  );
});

/** What PyTorch makes of a checkpoint of ours: its own optimizer's and schedulers' state, no state of ours. */
const REWRITE = `
import collections, sys, torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
c = torch.load(sys.argv[1])
params = [torch.nn.Parameter(v) for k, v in c['model'].items() if 'running' not in k and 'num_batches' not in k]
groups = [dict(g, params=[params[i] for i in g['params']]) for g in c['optimizer']['param_groups']]
opt = torch.optim.Adam(groups)
opt.load_state_dict(c['optimizer'])
sched = CosineAnnealingLR(opt, T_max=c['lr_sched']['T_max'])
sched.load_state_dict(c['lr_sched'])
torch.save({
    'model': collections.OrderedDict(c['model']), 'optimizer': opt.state_dict(), 'lr_sched': sched.state_dict(),
    'warmup_sched': c['warmup_sched'], 'epoch': c['epoch'], 'metric': c['metric'],
}, sys.argv[2])
`;

test('resuming from a checkpoint of Python: at the next epoch', {
  skip: pythonTorch() ? false : pythonTorchMissing,
}, async () => {
  const { command, env } = pythonTorch() as NonNullable<ReturnType<typeof pythonTorch>>;
  mkdirSync(join(folder, 'python'));
  const paths = [join(folder, 'whole/model_0000.pth'), join(folder, 'python/model_0000.pth')];
  const { status, stderr } = spawnSync(command, ['-c', REWRITE, ...paths], { env, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  writeFileSync(join(folder, 'python/last_checkpoint'), 'model_0000.pth');
  const { code, output } = await train('python', ['--resume']);
  assert.equal(code, 0, output);
  assert.match(output, /Starting training from epoch 1\n/);
  // Batches differ, as Python knows nothing of our loader; learning rates do not.
  const rates = (name: string): number[] => metrics(name).map(({ lr }) => lr);
  assert.deepEqual(rates('python'), rates('whole').slice(1));
});
