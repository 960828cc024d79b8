// node launch_main.js MODE FOLDER [DIST_URL]: two ranks by launch().
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRestart, launch } from '../../src/engine/index.js';
import * as torch from '../../src/torch/index.js';

const [mode, folder, distUrl] = process.argv.slice(2) as [string, string, string?];
const { distributed: dist } = torch;
const RESTARTED = ['restart', 'stops', 'waits', 'deaf'];

async function main(): Promise<void> {
  torch.setNumThreads(1);
  const asked = mode === 'stops' && new Promise((stop) => process.once('SIGINT', stop));
  if (mode === 'deaf') process.on('SIGINT', () => {});
  const group = dist.worldGroup();
  writeFileSync(
    join(folder, `rank${group.rank}.json`),
    JSON.stringify({ pid: process.pid, size: group.size }),
  );
  console.log(`output of rank ${group.rank}`);
  await group.barrier();
  if (asked) {
    const awake = setInterval(() => {}, 1000); // a handler of signals does not keep a process
    await asked;
    clearInterval(awake);
    // Longer than ranks have to end after a failure.
    if (group.rank === 0) await new Promise((resolve) => setTimeout(resolve, 7000));
    writeFileSync(join(folder, `saved${group.rank}`), '');
    process.exit(group.rank === 0 ? 130 : 128);
  }
  if (group.rank === 1) {
    if (mode === 'deaf') for (;;); // a rank that never answers, in JavaScript
    if (mode === 'throws') throw new Error('boom');
    if (mode === 'killed' || (mode === 'restart' && !isRestart())) process.kill(process.pid, 'SIGKILL');
    if (mode === 'hangs') for (;;);
  }
  if (mode === 'hangs') throw new Error('the other one is to end as well');
  if (mode === 'waits') await new Promise((resolve) => setTimeout(resolve, 30_000));
  // Rank 0 blocks here when rank 1 does not come.
  group.allReduce(torch.ones([2])).wait();
  if (isRestart()) writeFileSync(join(folder, `restarted${group.rank}`), '');
}

try {
  await launch(main, { numGpus: 2, distUrl, logDir: folder, maxRestarts: RESTARTED.includes(mode) ? 1 : 0 });
  console.log(existsSync(join(folder, 'restarted1')) ? 'done after a restart' : 'done');
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 9;
}
