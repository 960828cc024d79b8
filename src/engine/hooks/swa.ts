import { logger } from '../../logger.js';
import type { nn } from '../../torch/index.js';
import { AveragedWeights } from '../averaged-weights.js';
import { HookBase, type HookState } from '../train-loop.js';

/** Learning rates of an optimizer, which the hook sets. */
export interface RatedOptimizer {
  readonly paramGroups: readonly { lr: number; initial_lr?: number }[];
}

export interface SWAOptions {
  model: nn.AnyModule;
  optimizer: RatedOptimizer;
  /** First epoch, from 0, that is trained at the constant rate and averaged. */
  startEpoch: number;
  /** Epochs between two weights that are averaged (default 1). */
  period?: number;
  /** The constant rate, as a multiple of each group's initial one; 0: rates are left to their schedule. */
  lrFactor: number;
  /** Computes batch norm statistics of the averaged weights. */
  updateBn?: (() => Promise<void>) | undefined;
}

/**
 * Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407): from `startEpoch` on, trains at a constant
 * rate and averages the weights at the end of epochs. After the last one the model gets the averages, with batch
 * norm statistics of their own, before it is evaluated and saved; until then its own weights are. To be registered
 * behind the learning rates' hook and before whatever evaluates or saves.
 */
export class SWA extends HookBase {
  readonly #options: SWAOptions;
  readonly #averages: AveragedWeights;

  constructor(options: SWAOptions) {
    super();
    const { period = 1, startEpoch } = options;
    if (!Number.isInteger(period) || period < 1) {
      throw new RangeError(`SOLVER.SWA.PERIOD is ${period}; it must be a whole number of at least 1`);
    }
    if (!Number.isInteger(startEpoch) || startEpoch < 0) {
      throw new RangeError(
        `SOLVER.SWA.START_EPOCH is ${startEpoch}; it must be a whole number of at least 0`,
      );
    }
    this.#options = options;
    this.#averages = new AveragedWeights(options.model);
  }

  override beforeTrain(): void {
    const { startEpoch } = this.#options;
    const { maxEpoch } = this.trainer;
    if (startEpoch < maxEpoch) return;
    throw new RangeError(
      `SOLVER.SWA.START_EPOCH is ${startEpoch}, but training ends after ${maxEpoch} epochs (SOLVER.MAX_EPOCH)`,
    );
  }

  override beforeEpoch(): void {
    // A finished run that goes on for more epochs.
    if (this.#averages.exchanged) this.#averages.exchange();
    const { startEpoch, lrFactor, optimizer } = this.#options;
    const { epoch, iterInEpoch } = this.trainer;
    if (epoch < startEpoch || lrFactor === 0 || iterInEpoch > 0) return;
    if (epoch === startEpoch) logger.info(`Averaging weights from epoch ${epoch} on`);
    for (const group of optimizer.paramGroups) group.lr = (group.initial_lr ?? group.lr) * lrFactor;
  }

  override async afterEpoch(): Promise<void> {
    const { startEpoch, period = 1, updateBn } = this.#options;
    const { epoch, maxEpoch } = this.trainer;
    if (epoch < startEpoch) return;
    if ((epoch - startEpoch + 1) % period === 0) this.#averages.update(1 / (this.#averages.count + 1));
    if (epoch + 1 < maxEpoch) return;
    if (this.#averages.count === 0) {
      logger.warn(`No weights were averaged: SOLVER.SWA.PERIOD is ${period}, and training ended before`);
      return;
    }
    logger.info(`The model is the average of ${this.#averages.count} epochs' weights now`);
    this.#averages.exchange();
    await updateBn?.();
  }

  override stateDict(): HookState {
    return this.#averages.stateDict();
  }

  override loadStateDict(state: HookState): void {
    this.#averages.loadStateDict(state);
  }
}
