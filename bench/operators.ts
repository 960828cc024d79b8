// What one operator call costs through the public API: CPU time of tiny operators on one thread.

import * as torch from '../src/torch/index.js';
import { compare, type Figure } from './compare.js';

const CALLS = 100_000;
const REPEATS = 5;

/** Median CPU nanoseconds a call, inside scopes of 100 calls, as a training step would make them. */
function measure(body: () => unknown): number {
  const run = (calls: number): void => {
    for (let i = 0; i < calls; i += 100) {
      torch.scope(() => {
        for (let k = 0; k < 100; k++) body();
      });
    }
  };
  run(20_000);
  const times: number[] = [];
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const start = process.cpuUsage();
    run(CALLS);
    const spent = process.cpuUsage(start);
    times.push(((spent.user + spent.system) * 1000) / CALLS);
  }
  return times.sort((a, b) => a - b)[REPEATS >> 1]!;
}

function child(): void {
  torch.setNumThreads(1);
  const one = torch.ones([1]);
  const square = torch.ones([8, 8]);
  const oneGrad = torch.ones([1], { requiresGrad: true });
  const squareGrad = torch.ones([8, 8], { requiresGrad: true });
  const result = {
    ...torch.noGrad(() => ({
      'add, no grad': measure(() => one.add(one)),
      'matmul 8×8, no grad': measure(() => square.matmul(square)),
      'view, no grad': measure(() => square.view([4, 16])),
    })),
    'add, grad': measure(() => oneGrad.add(one)),
    'matmul 8×8, grad': measure(() => squareGrad.matmul(square)),
    'view, grad': measure(() => squareGrad.view([4, 16])),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

export function operators(rounds: number): Figure[] {
  return compare('operators', { rounds, units: { '*': 'ns' } });
}

if (process.argv[2] === '--child') child();
