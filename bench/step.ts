// A training step of ResNet-50 at 256×128, batch 16: forward, backward, Adam. Wall time and peak memory.

import { resourceUsage } from 'node:process';
import { getCfg } from '../src/config/index.js';
import { buildBackbone } from '../src/modeling/index.js';
import * as torch from '../src/torch/index.js';
import { compare, type Figure } from './compare.js';

const BATCH = 16;
const STEPS = 6;

function child(): void {
  torch.setNumThreads(2);
  torch.manualSeed(0);
  const cfg = getCfg();
  cfg.mergeFromList([
    'MODEL.BACKBONE.DEPTH',
    '50x',
    'MODEL.BACKBONE.LAST_STRIDE',
    '1',
    'MODEL.DEVICE',
    'cpu',
  ]);
  const backbone = buildBackbone(cfg, () => undefined);
  const classifier = new torch.nn.Linear(2048, 751);
  const parameters = [...backbone.parameters(), ...classifier.parameters()];
  const optimizer = new torch.optim.Adam(parameters, { lr: 3.5e-4, weightDecay: 5e-4 });
  const images = torch.randn([BATCH, 3, 256, 128]);
  const targets = torch.randint(0, 751, [BATCH]);
  const step = (): void =>
    torch.scope(() => {
      optimizer.zeroGrad();
      const features = backbone.call(images).mean([2, 3]);
      torch.cross_entropy_loss(classifier.call(features), targets).backward();
      optimizer.step();
    });
  step();
  const times: number[] = [];
  for (let i = 0; i < STEPS; i++) {
    const start = process.hrtime.bigint();
    step();
    times.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  times.sort((a, b) => a - b);
  const result = {
    'training step': times[STEPS >> 1]!,
    'peak resident memory': resourceUsage().maxRSS / 1024,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

export function step(rounds: number): Figure[] {
  return compare('step', { rounds, units: { 'training step': 'ms', 'peak resident memory': 'MiB' } });
}

if (process.argv[2] === '--child') child();
