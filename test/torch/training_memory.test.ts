import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);

const STEPS = 20_000;
const WARM_UP = 2_000;

/** A step as users write it: nothing is released by hand. */
function makeStep(): () => void {
  torch.manualSeed(0);
  const model = new torch.nn.Sequential(
    new torch.nn.Linear(8, 16),
    new torch.nn.ReLU(),
    new torch.nn.Linear(16, 2),
  );
  const optimizer = new torch.optim.SGD(model.parameters(), { lr: 0.01 });
  const x = torch.randn([8, 8]);
  const target = torch.randint(0, 2, [8]);
  return () => {
    const loss = torch.cross_entropy_loss(model.call(x), target);
    optimizer.zeroGrad();
    loss.backward();
    optimizer.step();
  };
}

function observe() {
  const { liveTensors, liveBytes } = torch.memoryStats();
  return { liveTensors, liveBytes, resident: process.memoryUsage().rss };
}

async function train(pause?: () => Promise<void>): Promise<void> {
  const step = makeStep();
  let start = observe();
  let mostTensors = 0;
  let mostBytes = 0;
  for (let i = 0; i < STEPS; i++) {
    step();
    if (pause) await pause();
    if (i === WARM_UP) start = observe();
    if (i > WARM_UP && i % 50 === 0) {
      const { liveTensors, liveBytes } = torch.memoryStats();
      mostTensors = Math.max(mostTensors, liveTensors);
      mostBytes = Math.max(mostBytes, liveBytes);
    }
  }
  const grown = (observe().resident - start.resident) / 2 ** 20;
  const report = `resident memory grew by ${grown.toFixed()} MB; at most ${mostTensors} tensors, ${(mostBytes / 2 ** 20).toFixed()} MB`;
  assert.ok(grown < 150, report);
  assert.ok(mostTensors < 100_000, report);
  assert.ok(mostBytes < 100 * 2 ** 20, report);
}

test(`${STEPS} plain training steps, no await and no disposal`, () => train());

test(`${STEPS} plain training steps with await`, () => train(() => Promise.resolve()));
