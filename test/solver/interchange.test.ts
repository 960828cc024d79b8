import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CosineAnnealingLR, type LRScheduler, MultiStepLR } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';

const python = pythonTorch();
const skip = python === undefined ? pythonTorchMissing : false;

/** Steps both schedules five times, saves them; then loads what TypeScript saved and goes on for five steps more. */
const SCRIPT = `
import json, sys, torch
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR
folder, part = sys.argv[1:]
rates = {}
for name, make in (('multi', lambda o: MultiStepLR(o, [2, 7], 0.5)), ('cosine', lambda o: CosineAnnealingLR(o, 12, 1e-3))):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = make(optimizer)
    if part == 'second':
        optimizer.param_groups[0]['lr'] = torch.load(f'{folder}/{name}.ts.lr', weights_only=True)['lr']
        schedule.load_state_dict(torch.load(f'{folder}/{name}.ts', weights_only=True))
    rates[name] = []
    for _ in range(5):
        optimizer.step()
        schedule.step()
        rates[name].append(optimizer.param_groups[0]['lr'])
    torch.save(schedule.state_dict(), f'{folder}/{name}.py')
print(json.dumps(rates))
`;

function make(name: string) {
  const optimizer = { paramGroups: [{ lr: 0.1 }] };
  const schedule: LRScheduler =
    name === 'multi'
      ? new MultiStepLR(optimizer, { milestones: [2, 7], gamma: 0.5 })
      : new CosineAnnealingLR(optimizer, { tMax: 12, etaMin: 1e-3 });
  const fiveSteps = (): number[] =>
    Array.from({ length: 5 }, () => {
      schedule.step();
      return optimizer.paramGroups[0].lr;
    });
  return { optimizer, schedule, fiveSteps };
}

test("schedules go on from PyTorch's state dicts, and PyTorch from ours", { skip }, () => {
  assert.ok(python);
  const { command, env } = python;
  const folder = mkdtempSync(join(tmpdir(), 'reid-native-'));
  const ask = (part: string): Record<string, number[]> =>
    JSON.parse(execFileSync(command, ['-c', SCRIPT, folder, part], { env }).toString());
  const near = (found: number[], wanted: number[]): void =>
    wanted.forEach((lr, i) => {
      assert.ok(Math.abs(found[i] - lr) < 1e-12, `${found} instead of ${wanted}`);
    });
  try {
    const first = ask('first');
    for (const name of ['multi', 'cosine']) {
      const { optimizer, schedule, fiveSteps } = make(name);
      near(fiveSteps(), first[name]);
      torch.saveSync(schedule.stateDict(), join(folder, `${name}.ts`));
      torch.saveSync({ lr: optimizer.paramGroups[0].lr }, join(folder, `${name}.ts.lr`));
    }
    const states = ['multi', 'cosine'].map((name) => torch.loadSync(join(folder, `${name}.py`)));
    const second = ask('second');
    ['multi', 'cosine'].forEach((name, i) => {
      const { optimizer, schedule, fiveSteps } = make(name);
      optimizer.paramGroups[0].lr = first[name][4];
      schedule.loadStateDict(states[i] as ReadonlyMap<unknown, unknown>);
      near(fiveSteps(), second[name]);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
