import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { buildLrScheduler, scheduleTable } from '../../src/solver/index.js';
import { goldenJson } from '../support/golden.js';

interface Reference {
  sched: string;
  steps: number[];
  gamma: number;
  eta_min: number;
  max_epoch: number;
  iters_per_epoch: number;
  warmup_iters: number;
  warmup_method: string;
  warmup_factor: number;
  delay_epochs: number;
  base_lrs: number[];
  lr: number[][];
}

function cfgOf(reference: Reference, compat = 'fastreid') {
  const cfg = getCfg();
  cfg.COMPAT = compat;
  cfg.SOLVER.SCHED = reference.sched;
  cfg.SOLVER.STEPS = reference.steps;
  cfg.SOLVER.GAMMA = reference.gamma;
  cfg.SOLVER.ETA_MIN_LR = reference.eta_min;
  cfg.SOLVER.MAX_EPOCH = reference.max_epoch;
  cfg.SOLVER.WARMUP_ITERS = reference.warmup_iters;
  cfg.SOLVER.WARMUP_METHOD = reference.warmup_method;
  cfg.SOLVER.WARMUP_FACTOR = reference.warmup_factor;
  cfg.SOLVER.DELAY_EPOCHS = reference.delay_epochs;
  cfg.SOLVER.BASE_LR = reference.base_lrs[0];
  return cfg;
}

const references = Object.entries(goldenJson<Reference>('lr')).filter(([, entry]) => entry.lr !== undefined);
const optimizerOf = ({ base_lrs }: Reference) => ({
  paramGroups: base_lrs.map((lr): { lr: number } => ({ lr })),
});

function assertClose(found: number[], wanted: number[], where: string): void {
  wanted.forEach((lr, i) => {
    assert.ok(Math.abs(found[i] - lr) <= 1e-8 * lr, `${where}: ${found[i]} instead of ${lr}`);
  });
}

for (const [name, reference] of references) {
  test(`${name}: every iteration has FastReID's learning rates, also after resuming`, () => {
    const perEpoch = reference.iters_per_epoch;
    let optimizer = optimizerOf(reference);
    let rates = buildLrScheduler(cfgOf(reference), optimizer, perEpoch);
    for (let epoch = 0; epoch < reference.max_epoch; epoch++) {
      for (let i = epoch * perEpoch; i < (epoch + 1) * perEpoch; i++) {
        assertClose(
          optimizer.paramGroups.map(({ lr }) => lr),
          reference.lr[i],
          `${name}, iteration ${i}`,
        );
        rates.afterStep(i + 1);
      }
      rates.afterEpoch(epoch);
      const resumed = optimizerOf(reference);
      const others = buildLrScheduler(cfgOf(reference), resumed, perEpoch);
      optimizer.paramGroups.forEach(({ lr }, k) => {
        resumed.paramGroups[k].lr = lr;
      });
      others.lrSched.loadStateDict(new Map(Object.entries(rates.lrSched.stateDict())));
      if (rates.warmupSched) others.warmupSched?.loadStateDict(rates.warmupSched.stateDict());
      optimizer = resumed;
      rates = others;
    }
  });

  test(`${name}: the table tells the first and last rate of each epoch`, () => {
    const perEpoch = reference.iters_per_epoch;
    const table = scheduleTable(cfgOf(reference), perEpoch);
    assert.equal(table.length, reference.max_epoch);
    for (const { epoch, firstLr, lastLr } of table) {
      assertClose([firstLr], [reference.lr[epoch * perEpoch][0]], `${name}, first of epoch ${epoch}`);
      assertClose([lastLr], [reference.lr[(epoch + 1) * perEpoch - 1][0]], `${name}, last of epoch ${epoch}`);
    }
  });
}

test('state dicts have the entries of PyTorch', () => {
  const [, reference] = references[0];
  const rates = buildLrScheduler(cfgOf(reference), optimizerOf(reference), 10);
  assert.deepEqual(rates.lrSched.stateDict(), {
    milestones: new Map([
      [4, 1],
      [7, 1],
    ]),
    gamma: 0.1,
    base_lrs: [0.01, 0.05],
    last_epoch: 0,
    _step_count: 1,
    _is_initial: false,
    _get_lr_called_within_step: false,
    _last_lr: [0.01, 0.05],
  });
});

test('a cosine after a warm-up of whole epochs ends at its minimum', () => {
  const [, reference] = references.find(([name]) => name === 'cosine_warm_linear') ?? [];
  assert.ok(reference);
  for (const warmup_iters of [10, 20, 30]) {
    const rates = scheduleTable(cfgOf({ ...reference, warmup_iters }, ''), 10).map(({ firstLr }) => firstLr);
    const falling = rates.slice(warmup_iters / 10);
    assert.ok(
      falling.every((lr, i) => i === 0 || lr < falling[i - 1]),
      `climbs: ${falling}`,
    );
    assert.ok(Math.abs((rates.at(-1) ?? 0) - reference.eta_min) < 1e-12);
  }
});

test('settings that cannot work are refused by name', () => {
  const cfg = getCfg();
  assert.throws(() => scheduleTable(cfg, 0), /at least one batch/);
  cfg.SOLVER.WARMUP_METHOD = 'cubic';
  assert.throws(() => scheduleTable(cfg, 10), /SOLVER.WARMUP_METHOD is 'cubic'/);
  cfg.SOLVER.SCHED = 'CosineAnealingLR';
  assert.throws(() => scheduleTable(cfg, 10), /Did you mean 'CosineAnnealingLR'/);
});

test('a state with another number of groups is refused', () => {
  const [, reference] = references[0];
  const rates = buildLrScheduler(cfgOf(reference), optimizerOf(reference), 10);
  const state = { ...rates.lrSched.stateDict(), base_lrs: [0.1] };
  assert.throws(
    () => rates.lrSched.loadStateDict(state),
    /the state has 1 parameter groups, the optimizer 2/,
  );
});
