// One rank of again.test.ts: node again_rank.js again|hangs|forgotten
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as torch from '../../src/torch/index.js';
import { backend, ownDevice } from './place.js';
import { report } from './ranks.js';

const { distributed: dist, nn } = torch;
torch.setNumThreads(1);
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
const device = ownDevice();
const options = { backend, timeout: 60_000 };

/** The same address each time. */
async function again(): Promise<unknown> {
  const sums: unknown[] = [];
  let closed = '';
  for (let time = 0; time < 3; time++) {
    const group = await dist.initProcessGroup(options);
    const pair = (await dist.newGroup([0, 1])) as torch.distributed.ProcessGroup;
    const net = new nn.Linear(2, 1).to(device);
    const ddp = new dist.DistributedDataParallel(net, { group: pair });
    const step = (): void => (ddp.call(torch.ones([1, 2], { device })) as torch.Tensor).sum().backward();
    step();
    sums.push((await group.allReduce(torch.tensor([time + group.rank], { device }))).item());
    await dist.destroyProcessGroup();
    try {
      step();
    } catch (error) {
      closed = (error as Error).message;
    }
    ddp.close();
  }
  return { sums, closed };
}

/** Rank 1 waits in a group for what rank 0 never begins. */
async function hangs(): Promise<unknown> {
  const group = await dist.initProcessGroup(options);
  const pair = (await dist.newGroup([0, 1])) as torch.distributed.ProcessGroup;
  await group.barrier();
  if (group.rank === 1) void pair.broadcast(torch.ones([1])).then(undefined, () => undefined);
  const start = performance.now();
  await dist.destroyProcessGroup('gave up');
  return performance.now() - start;
}

/** Bytes that the buckets take while it lives, and what is left of them when nobody knows it any longer. */
async function forgotten(): Promise<unknown> {
  await dist.initProcessGroup(options);
  const net = new nn.Linear(512, 512);
  const live = (): number => torch.memoryStats().liveBytes;
  const before = live();
  const held = (() => {
    new dist.DistributedDataParallel(net);
    return live() - before;
  })();
  // Gloo's threads let go of what they have sent a moment after it is done.
  const settled = async (): Promise<number> => {
    for (let i = 0; i < 100 && live() > before; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return live() - before;
  };
  const left = await settled();
  let known: unknown;
  {
    using ddp = new dist.DistributedDataParallel(net);
    known = ddp;
  }
  const disposed = await settled();
  await dist.destroyProcessGroup();
  return { held, left, disposed, known: known !== undefined };
}

await report(await { again, hangs, forgotten }[process.argv[2] as 'again']());
