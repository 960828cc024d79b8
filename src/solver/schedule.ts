import type { Config } from '../config/index.js';
import { Registry } from '../registry.js';
import {
  CosineAnnealingLR,
  type LRScheduler,
  MultiStepLR,
  type Schedulable,
  WarmupLR,
} from './lr_scheduler.js';

/** Facts of a run that schedules are laid out by. */
export interface RunLength {
  maxEpoch: number;
  itersPerEpoch: number;
  warmupIters: number;
  delayEpochs: number;
}

/** Builds the schedule that goes on after the warm-up, stepped at the end of epochs. */
export type SchedulerBuilder = (cfg: Config, optimizer: Schedulable, run: RunLength) => LRScheduler;

/** Names that `SOLVER.SCHED` may use. */
export const SCHEDULER_REGISTRY = new Registry<SchedulerBuilder>('learning rate schedule');

/**
 * A run's learning rates: a warm-up that is stepped after iterations, and a schedule that is stepped after epochs
 * once the warm-up and `SOLVER.DELAY_EPOCHS` are over. So `SOLVER.STEPS` count epochs from the end of the warm-up,
 * as in FastReID, whose published schedules rely on it.
 */
export class LearningRates {
  /** `lr_sched` in a checkpoint. */
  readonly lrSched: LRScheduler;
  /** `warmup_sched` in a checkpoint; absent when `SOLVER.WARMUP_ITERS` is 0. */
  readonly warmupSched: WarmupLR | undefined;
  readonly #run: RunLength;

  constructor(lrSched: LRScheduler, warmupSched: WarmupLR | undefined, run: RunLength) {
    this.lrSched = lrSched;
    this.warmupSched = warmupSched;
    this.#run = run;
  }

  /** To be called after each optimizer step; `iterations` are those done since the run's beginning. */
  afterStep(iterations: number): void {
    if (iterations <= this.#run.warmupIters) this.warmupSched?.step();
  }

  /** To be called after each epoch, numbered from 0. */
  afterEpoch(epoch: number): void {
    if (stepsAfter(epoch, this.#run)) this.lrSched.step();
  }
}

/** Whether the schedule moves on at the end of an epoch, numbered from 0. */
function stepsAfter(epoch: number, { itersPerEpoch, warmupIters, delayEpochs }: RunLength): boolean {
  return (epoch + 1) * itersPerEpoch >= warmupIters && epoch >= delayEpochs;
}

SCHEDULER_REGISTRY.register('MultiStepLR', (cfg, optimizer) => {
  const { STEPS: milestones, GAMMA: gamma } = cfg.SOLVER;
  return new MultiStepLR(optimizer, { milestones, gamma });
});

SCHEDULER_REGISTRY.register('CosineAnnealingLR', (cfg, optimizer, run) => {
  const warmupEpochs = Math.ceil(run.warmupIters / run.itersPerEpoch);
  let tMax = Math.max(1, run.maxEpoch - Math.max(warmupEpochs, run.delayEpochs));
  if (cfg.COMPAT !== 'fastreid') {
    let steps = 0;
    for (let epoch = 0; epoch < run.maxEpoch - 1; epoch++) if (stepsAfter(epoch, run)) steps++;
    // With fewer, the rate would reach the bottom too early and climb again in the last epochs.
    tMax = Math.max(tMax, steps);
  }
  return new CosineAnnealingLR(optimizer, { tMax, etaMin: cfg.SOLVER.ETA_MIN_LR });
});

const WARMUP_METHODS = ['constant', 'linear', 'exp'] as const;

/**
 * The learning rates that `SOLVER.SCHED`, its settings and `SOLVER.WARMUP_*` describe; sets the optimizer's to
 * those of the first iteration.
 *
 * @param itersPerEpoch iterations (batches) of an epoch, at least 1
 */
export function buildLrScheduler(cfg: Config, optimizer: Schedulable, itersPerEpoch: number): LearningRates {
  const { MAX_EPOCH, WARMUP_ITERS, WARMUP_FACTOR, WARMUP_METHOD, DELAY_EPOCHS, SCHED } = cfg.SOLVER;
  if (!Number.isInteger(itersPerEpoch) || itersPerEpoch < 1) {
    throw new Error(
      `an epoch of ${itersPerEpoch} iterations: the training set must hold at least one batch (SOLVER.IMS_PER_BATCH)`,
    );
  }
  const run = { maxEpoch: MAX_EPOCH, itersPerEpoch, warmupIters: WARMUP_ITERS, delayEpochs: DELAY_EPOCHS };
  const lrSched = SCHEDULER_REGISTRY.get(SCHED)(cfg, optimizer, run);
  if (WARMUP_ITERS <= 0) return new LearningRates(lrSched, undefined, run);
  const method = WARMUP_METHODS.find((name) => name === WARMUP_METHOD);
  if (method === undefined) {
    throw new Error(
      `SOLVER.WARMUP_METHOD is '${WARMUP_METHOD}'; it must be one of ${WARMUP_METHODS.join(', ')}`,
    );
  }
  const warmup = new WarmupLR(optimizer, { factor: WARMUP_FACTOR, iterations: WARMUP_ITERS, method });
  return new LearningRates(lrSched, warmup, run);
}

/** Learning rates of one epoch: those of its first and its last iteration. */
export interface EpochRates {
  /** Numbered from 0. */
  epoch: number;
  firstLr: number;
  lastLr: number;
}

/** The learning rate (of parameters at `SOLVER.BASE_LR`) through a whole run, epoch by epoch. */
export function scheduleTable(cfg: Config, itersPerEpoch: number): EpochRates[] {
  const group: Schedulable['paramGroups'][number] = { lr: cfg.SOLVER.BASE_LR };
  const rates = buildLrScheduler(cfg, { paramGroups: [group] }, itersPerEpoch);
  const table: EpochRates[] = [];
  for (let epoch = 0; epoch < cfg.SOLVER.MAX_EPOCH; epoch++) {
    const firstLr = group.lr;
    let lastLr = firstLr;
    for (let i = 1; i <= itersPerEpoch; i++) {
      lastLr = group.lr;
      rates.afterStep(epoch * itersPerEpoch + i);
    }
    table.push({ epoch, firstLr, lastLr });
    rates.afterEpoch(epoch);
  }
  return table;
}
