import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
after(() => torch.autograd.setBackwardMode('auto'));

const start = (task: string, handle?: number) =>
  new Worker(new URL('./worker_child.js', import.meta.url), { workerData: { task, handle } });

async function answer<T>(worker: Worker): Promise<T> {
  const [message] = (await once(worker, 'message')) as [T];
  return message;
}

test('a worker loads the addon and computes; several at once give the same', async () => {
  const workers = [start('compute'), start('compute'), start('queue')];
  const exits = workers.map((worker) => once(worker, 'exit'));
  const losses = await Promise.all(workers.map((worker) => answer<number>(worker)));
  assert.ok(Number.isFinite(losses[0]));
  for (const [code] of await Promise.all(exits)) assert.equal(code, 0);
  torch.ones([3]).add(1);
});

test('ids of one thread mean nothing, or another tensor, in another', async () => {
  const many = Array.from({ length: 100 }, (_, i) => torch.full([2], i));
  const worker = start('foreign', many[99]!.handle);
  const found = await answer<string[]>(worker);
  assert.deepEqual(found.slice(1), ['TypeError', 'TypeError', 'TypeError', 'TypeError']);
  await worker.terminate();
  assert.deepEqual(many[99]!.toArray(), [99, 99]);
});

test('a tensor cannot be sent to another thread', () => {
  const { port1, port2 } = new MessageChannel();
  assert.throws(() => port1.postMessage(torch.ones([1])), { name: 'DataCloneError' });
  port1.close();
  port2.close();
});

test('workers end while tensors, graphs, hooks and modes are alive', async () => {
  for (const handle of [0, 1, 2, 1, 2]) {
    const worker = start('hold', handle);
    assert.equal(await answer(worker), 'holding');
    await new Promise((resolve) => setTimeout(resolve, 30));
    await worker.terminate();
  }
  torch.autograd.setBackwardMode('auto');
  const x = torch.ones([2], { requiresGrad: true });
  x.registerHook((grad) => grad.mul(3));
  x.sum().backward();
  assert.deepEqual(x.grad!.toArray(), [3, 3]);
});
