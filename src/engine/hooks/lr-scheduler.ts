import { HookBase } from '../train-loop.js';

/** What the hook needs of a run's learning rates: the solver knows which schedule steps when. */
export interface SteppedRates {
  /** Called after each iteration with the number of those done. */
  afterStep(iterations: number): void;
  /** Called after each epoch, numbered from 0. */
  afterEpoch(epoch: number): void;
}

/** Parameter groups as the hook reads them. */
export interface GroupedOptimizer {
  paramGroups: readonly { readonly params: readonly unknown[]; readonly lr: number }[];
}

/**
 * Moves the learning rates on and puts the rate that the iteration used into the storage as `lr`: that of the group
 * with the most parameters or, when all groups hold one, the commonest.
 */
export class LRScheduler extends HookBase {
  private readonly optimizer: GroupedOptimizer;
  private readonly rates: SteppedRates;
  private readonly group: number;

  constructor(optimizer: GroupedOptimizer, rates: SteppedRates) {
    super();
    this.optimizer = optimizer;
    this.rates = rates;
    this.group = representativeGroup(optimizer);
  }

  override afterStep(): void {
    this.trainer.storage.putScalar('lr', this.optimizer.paramGroups[this.group].lr, { smoothing: false });
    this.rates.afterStep(this.trainer.iter + 1);
  }

  override afterEpoch(): void {
    this.rates.afterEpoch(this.trainer.epoch);
  }
}

function representativeGroup(optimizer: GroupedOptimizer): number {
  const groups = optimizer.paramGroups;
  const largest = Math.max(...groups.map((g) => g.params.length));
  if (largest > 1) return groups.findIndex((g) => g.params.length === largest);
  const counts = new Map<number, number>();
  for (const { lr } of groups) counts.set(lr, (counts.get(lr) ?? 0) + 1);
  const commonest = [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];
  return groups.findIndex((g) => g.lr === commonest);
}
