// One rank of failures.test.ts: node failures_rank.js MODE [LIBRARY]
import * as torch from '../../src/torch/index.js';
import { report } from './ranks.js';

const { distributed: dist } = torch;
torch.setNumThreads(1);
const mode = process.argv[2];
const options = {
  absent: { joinTimeout: 1000 },
  stopped: { lostAfter: 2500 },
  lingers: { lostAfter: 1000 },
  behind: { timeout: 2500 },
};

async function run(): Promise<void> {
  const backend = mode === 'differs' && process.env.RANK === '1' ? 'nccl' : 'gloo';
  const group = await dist.initProcessGroup({ backend, ...options[mode as keyof typeof options] });
  await group.barrier();
  const pair = mode === 'lingers' ? await dist.newGroup([0, 1]) : null;
  if (group.rank === 1) {
    if (mode === 'throws') {
      try {
        process.dlopen({ exports: {} }, process.argv[3] as string);
      } catch {
        // It is no addon; its thread throws in a moment.
      }
    }
    if (mode === 'killed') process.kill(process.pid, 'SIGKILL');
    if (mode === 'stopped') process.kill(process.pid, 'SIGSTOP');
    if (mode === 'fails') {
      await dist.destroyProcessGroup('the sky\nis falling');
      process.exit(3);
    }
    if (mode === 'lingers') {
      // A connection in use outlives its group.
      void pair!.recv(torch.ones([1]), 0, 7).then(undefined, () => undefined);
      await dist.destroyProcessGroup('the sky is falling');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    }
    if (mode === 'behind' || mode === 'throws') await new Promise((resolve) => setTimeout(resolve, 6000));
  }
  const work = (pair ?? group).allReduce(torch.ones([4]));
  if (mode === 'fails') await work;
  else work.wait();
}

try {
  await run();
} catch (error) {
  await report(`${(error as Error).name}: ${(error as Error).message}`);
}
process.exit(4);
