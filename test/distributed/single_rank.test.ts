import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { DEVICES, skipWithout } from '../support/devices.js';

const { distributed: dist, nn } = torch;
torch.setNumThreads(1);

for (const device of DEVICES) {
  const backend = device === 'cuda' ? 'nccl' : 'gloo';
  test(`${backend}, one rank: collectives, and a data-parallel step that is the step alone`, {
    ...skipWithout(device),
    timeout: 120_000,
  }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'single-rank-'));
    const group = await dist.initProcessGroup({
      backend,
      initMethod: `file://${join(folder, 'store')}`,
      rank: 0,
      worldSize: 1,
    });
    t.after(async () => {
      await dist.destroyProcessGroup();
      rmSync(folder, { recursive: true });
    });
    const x = torch.arange(4, { device, dtype: torch.float32 });
    group.allReduce(x).wait();
    assert.deepEqual(x.cpu().toArray(), [0, 1, 2, 3]);
    const gathered = await group.allGather(x);
    assert.deepEqual(
      gathered.map((tensor) => tensor.cpu().toArray()),
      [[0, 1, 2, 3]],
    );
    await group.barrier();

    const gradients = (parallel: boolean): unknown[] => {
      torch.manualSeed(4);
      const net = new nn.Sequential(new nn.Linear(6, 16), new nn.ReLU(), new nn.Linear(16, 2)).to(device);
      const input = torch.randn([8, 6], { device });
      const model = parallel ? new dist.DistributedDataParallel(net as never) : net;
      (model.call(input as never) as torch.Tensor).pow(2).mean().backward();
      return [...net.parameters()].map((p) => (p.grad as torch.Tensor).cpu().toArray());
    };
    assert.deepEqual(gradients(true), gradients(false));
  });
}
