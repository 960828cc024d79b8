// What the workers of worker.test.ts run.
import { parentPort, workerData } from 'node:worker_threads';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
const { task, handle } = workerData as { task: string; handle?: number };
const say = (message: unknown) => parentPort!.postMessage(message);

function train(steps: number): number {
  torch.manualSeed(3);
  const model = new torch.nn.Linear(4, 2);
  const optimizer = new torch.optim.Adam(model.parameters(), { lr: 0.1 });
  const x = torch.arange(20).float().view([5, 4]);
  let loss = 0;
  for (let i = 0; i < steps; i++) {
    optimizer.zeroGrad();
    const error = model.call(x).sub(1).pow(2).mean();
    error.registerHook((grad) => grad.mul(1));
    error.backward();
    optimizer.step();
    loss = error.item() as number;
  }
  return loss;
}

if (task === 'compute') {
  say(train(20));
} else if (task === 'queue') {
  torch.autograd.setBackwardMode('queue');
  const loss = train(20);
  torch.autograd.setBackwardMode('auto');
  say(loss);
} else if (task === 'foreign') {
  const own = torch.zeros([1]);
  const before = own.handle;
  const messages: string[] = [];
  for (const id of [handle!, before + 12345, 0.5, -1, 2 ** 52]) {
    try {
      const foreign = new torch.Tensor(id);
      foreign.add(1);
      foreign.toArray();
      messages.push('is a tensor here');
    } catch (error) {
      messages.push((error as Error).name);
    }
  }
  say(messages);
} else if (task === 'hold') {
  // Everything that may be alive when a thread ends: tensors, graphs with hooks, shared memory, open scopes and modes.
  const shared = new Float32Array(1 << 16).fill(1);
  const over = torch.fromTypedArray(shared);
  const x = torch.randn([64, 64], { requiresGrad: true });
  const y = x.mul(over.narrow(0, 0, 1)).tanh();
  y.registerHook((grad) => grad.mul(2));
  x.registerPostAccumulateGradHook(() => undefined);
  const z = y.sum();
  z.backward(null, { retainGraph: true });
  (globalThis as Record<string, unknown>).held = [shared, over, x, y, z, new torch.Generator()];
  torch.scope();
  torch.ones([1000]);
  say('holding');
  if (handle === 1) {
    torch.inferenceMode(() => {
      for (;;) torch.ones([16]).add(1);
    });
  }
  if (handle === 2) {
    torch.autograd.setBackwardMode('queue');
    for (;;) {
      const w = torch.ones([4], { requiresGrad: true });
      w.registerHook((grad) => {
        for (let i = 0; i < 50; i++) torch.scope(() => grad.mul(i));
      });
      w.sum().backward();
    }
  }
  setInterval(() => undefined, 1000);
}
