// Two processes on this machine: all_reduce of 100 MB, a data-parallel training step of ResNet-18, and what
// DistributedDataParallel costs a process that trains alone. RANKS_ON=nccl/cuda: on two GPUs.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { getCfg } from '../src/config/index.js';
import { buildBackbone } from '../src/modeling/index.js';
import * as torch from '../src/torch/index.js';
import { backend, kind, ownDevice } from '../test/distributed/place.js';
import { compare, type Figure } from './compare.js';

const { distributed: dist } = torch;
const BATCH = 4;
const STEPS = 7;

function median(count: number, body: () => void): number {
  const times = Array.from({ length: count }, () => {
    const start = process.hrtime.bigint();
    body();
    if (kind === 'cuda') torch.cuda.synchronize();
    return Number(process.hrtime.bigint() - start) / 1e6;
  });
  return times.sort((a, b) => a - b)[count >> 1]!;
}

/** A step of ResNet-18 at 128×64, by itself or data-parallel within `group`. */
function stepper(group: torch.distributed.ProcessGroup | null, device: string): () => void {
  torch.manualSeed(0);
  const cfg = getCfg().mergeFromList(['MODEL.BACKBONE.DEPTH', '18x', 'MODEL.DEVICE', device]);
  const net = buildBackbone(cfg, () => undefined).to(device);
  const model = group === null ? net : new dist.DistributedDataParallel(net as never, { group });
  const optimizer = new torch.optim.SGD([...net.parameters()], { lr: 0.01, momentum: 0.9 });
  const images = torch.randn([BATCH, 3, 128, 64]).to(device);
  return () =>
    torch.scope(() => {
      optimizer.zeroGrad();
      (model.call(images as never) as torch.Tensor).mean().backward();
      optimizer.step();
    });
}

async function rank(): Promise<void> {
  torch.setNumThreads(1);
  const device = ownDevice();
  const group = await dist.initProcessGroup({ backend });
  const big = torch.ones([25_000_000], { device });
  const reduce = (): void => {
    group.allReduce(big).wait();
    big.fill_(1);
  };
  reduce();
  const allReduce = median(STEPS, reduce);
  const both = stepper(group, device);
  for (let i = 0; i < 2; i++) both();
  const parallel = median(STEPS, both);
  const alone = await dist.newGroup([0]);
  if (alone !== null) {
    const plain = stepper(null, device);
    const wrapped = stepper(alone, device);
    for (let i = 0; i < 2; i++) {
      plain();
      wrapped();
    }
    // In turns, so that whatever else the machine does hits both alike.
    const times: [number, number][] = Array.from({ length: STEPS }, () => [
      median(1, plain),
      median(1, wrapped),
    ]);
    const ratios = times.map(([a, b]) => b / a).sort((a, b) => a - b);
    const result = {
      'all_reduce of 100 MB': allReduce,
      'data-parallel step': parallel,
      'step with one rank ÷ without': ratios[STEPS >> 1]!,
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  await group.barrier();
  await dist.destroyProcessGroup();
}

async function child(): Promise<void> {
  const server = createServer();
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  Object.assign(process.env, { MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port), WORLD_SIZE: '2' });
  const other = spawn(process.execPath, [fileURLToPath(import.meta.url), '--rank'], {
    env: { ...process.env, RANK: '1' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  process.env.RANK = '0';
  const ended = new Promise((resolve) => other.on('close', resolve));
  await rank();
  await ended;
}

export function distributed(rounds: number): Figure[] {
  return compare('distributed', { rounds, units: { '*': 'ms', 'step with one rank ÷ without': '' } });
}

if (process.argv[2] === '--child') await child();
if (process.argv[2] === '--rank') await rank();
