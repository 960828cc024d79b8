import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { temporaryFolder } from '../support/scripts.js';
import { runRanks } from './ranks.js';

const main = fileURLToPath(new URL('./launch_main.js', import.meta.url));

interface Launched {
  child: ChildProcess;
  folder: string;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

function launch(test: { after(fn: () => void): void }, mode: string, meeting?: string): Launched {
  const folder = temporaryFolder(test);
  const distUrl = meeting === undefined ? [] : [pathToFileURL(join(folder, meeting)).href];
  const child = spawn(process.execPath, [main, mode, folder, ...distUrl], {
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { child, folder, ended };
}

function pids(folder: string): number[] {
  return [0, 1].map(
    (rank) => JSON.parse(readFileSync(join(folder, `rank${rank}.json`), 'utf8')).pid as number,
  );
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A process that has ended but whose parent has not looked yet still takes signals.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function gone(folder: string): Promise<void> {
  for (let i = 0; i < 50 && pids(folder).some(alive); i++) await sleep(100);
  assert.deepEqual(pids(folder).map(alive), [false, false]);
}

async function begun(folder: string): Promise<void> {
  for (let i = 0; i < 200 && ![0, 1].every((rank) => existsSync(join(folder, `rank${rank}.json`))); i++)
    await sleep(100);
  await sleep(100);
}

describe('launch', { concurrency: 2 }, () => {
  it('runs the program in each rank, and keeps what others than rank 0 print', async (t) => {
    const { folder, ended } = launch(t, 'works');
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /output of rank 0/);
    assert.match(stdout, /done/);
    assert.doesNotMatch(stdout, /output of rank 1/);
    assert.match(readFileSync(join(folder, 'log.txt.rank1'), 'utf8'), /output of rank 1/);
    assert.equal(JSON.parse(readFileSync(join(folder, 'rank1.json'), 'utf8')).size, 2);
  });

  it('lets ranks meet by a file, a new one for each attempt', async (t) => {
    const { folder, ended } = launch(t, 'restart', 'meeting');
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /done after a restart/);
    assert.equal(JSON.parse(readFileSync(join(folder, 'rank1.json'), 'utf8')).size, 2);
  });

  it('refuses a file that another run has used', async (t) => {
    const { code, stderr } = await launch(t, 'works', '.').ended;
    assert.equal(code, 9);
    assert.match(stderr, /^--dist-url file:.*: the file exists, but each run needs a new one$/m);
  });

  const slurm = (rank: number): Record<string, string> => ({
    ...{ RANK: '', LOCAL_RANK: '', WORLD_SIZE: '', MASTER_ADDR: '' },
    ...{ SLURM_PROCID: String(rank), SLURM_LOCALID: String(rank), SLURM_NTASKS: '2', SLURM_STEP_ID: '0' },
    ...{ SLURM_STEP_NODELIST: '127.0.0.1', SLURM_JOB_ID: '77', SLURM_TASKS_PER_NODE: '2' },
  });
  for (const [starter, place] of [
    ['torchrun', undefined],
    ['SLURM', slurm],
  ] as const) {
    it(`joins the ranks that ${starter} has started`, async (t) => {
      const folder = temporaryFolder(t);
      const ranks = await runRanks('distributed/launch_main.js', 2, { args: ['works', folder], place });
      for (const { code, stderr } of ranks) assert.equal(code, 0, stderr);
      assert.equal(JSON.parse(readFileSync(join(folder, 'rank1.json'), 'utf8')).size, 2);
      assert.equal(existsSync(join(folder, 'log.txt.rank1')), false);
    });
  }

  it('shows the first error, and ends all', async (t) => {
    const { folder, ended } = launch(t, 'throws');
    const { code, stderr } = await ended;
    assert.equal(code, 9);
    assert.match(stderr, /^rank 1 failed: boom \(its output: .*log\.txt\.rank1\)$/m);
    await gone(folder);
  });

  it('says which rank was killed', async (t) => {
    const { folder, ended } = launch(t, 'killed');
    const { code, stderr } = await ended;
    assert.equal(code, 9);
    assert.match(stderr, /rank 1 failed: was ended by SIGKILL/);
    await gone(folder);
  });

  it('ends a rank that hangs when another one fails', async (t) => {
    const { folder, ended } = launch(t, 'hangs');
    const { stderr } = await ended;
    assert.match(stderr, /rank 0 failed: the other one is to end as well/);
    await gone(folder);
  });

  it('starts all again after a failure, if asked to', async (t) => {
    const { ended } = launch(t, 'restart');
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 0, stderr);
    assert.match(stderr + stdout, /rank 1 failed: was ended by SIGKILL[\s\S]*restart 1 of 1/);
    assert.match(stdout, /done after a restart/);
  });

  it('lets ranks that are asked to stop take their time, and starts none again', async (t) => {
    const { child, folder, ended } = launch(t, 'stops');
    await begun(folder);
    child.kill('SIGINT');
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 130, stderr);
    assert.doesNotMatch(stdout + stderr, /failed|restart/);
    assert.deepEqual(
      [0, 1].map((rank) => existsSync(join(folder, `saved${rank}`))),
      [true, true],
    );
  });

  it('ends a rank that hangs at the second signal', async (t) => {
    const { child, folder, ended } = launch(t, 'deaf');
    await begun(folder);
    child.kill('SIGINT');
    await sleep(400);
    assert.deepEqual(pids(folder).map(alive), [true, true]);
    const start = performance.now();
    child.kill('SIGINT');
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 130, stderr);
    assert.ok(performance.now() - start < 3000);
    assert.doesNotMatch(stdout + stderr, /failed|restart/);
    await gone(folder);
  });

  it('takes ranks that a signal to itself has ended for no failure', async (t) => {
    const { child, folder, ended } = launch(t, 'waits');
    await begun(folder);
    child.kill('SIGTERM');
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 143, stderr);
    assert.doesNotMatch(stdout + stderr, /failed|restart/);
    await gone(folder);
  });

  it('leaves no rank behind when it is killed itself', { skip: process.platform !== 'linux' }, async (t) => {
    const { child, folder, ended } = launch(t, 'waits');
    await begun(folder);
    child.kill('SIGKILL');
    await ended;
    await gone(folder);
  });
});
