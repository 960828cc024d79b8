import { logger } from '../../logger.js';
import { HookBase, type HookState } from '../train-loop.js';

export interface PeriodicCheckpointerOptions {
  /** Epochs between checkpoints; 0: only the best and the last. */
  period: number;
  /** Scalar of the storage that tells which checkpoint is the best. */
  metricName?: string;
  /** Writes a checkpoint of the whole training under a name; returns its path, or '' when nothing was written. */
  save: (name: string, at: SavePoint) => Promise<string>;
}

export interface SavePoint {
  /** The metric of the weights being saved; −1 when they were not evaluated. */
  metric: number;
  /** Whether the current epoch is over, its `afterEpoch` included. */
  epochDone: boolean;
}

/**
 * Writes checkpoints: `model_0009.pth` (the number of the epoch, from 0) every `period` epochs, `model_best.pth`
 * whenever a fresh evaluation beats all before, `model_final.pth` after the last epoch, and `model_interrupted.pth`
 * when training was asked to stop. To be registered after the evaluation.
 */
export class PeriodicCheckpointer extends HookBase {
  private readonly period: number;
  private readonly metricName: string;
  private readonly saveCheckpoint: PeriodicCheckpointerOptions['save'];
  private bestMetric = -1;

  constructor({ period, metricName = 'metric', save }: PeriodicCheckpointerOptions) {
    super();
    this.period = period;
    this.metricName = metricName;
    this.saveCheckpoint = save;
  }

  override async afterEpoch(): Promise<void> {
    const { epoch, maxEpoch } = this.trainer;
    const metric = this.freshMetric();
    const isBest = metric > this.bestMetric;
    // Before saving, so that the files know of it.
    if (isBest) this.bestMetric = metric;
    const at = { metric, epochDone: true };
    const last = epoch + 1 >= maxEpoch;
    const due = this.period > 0 && (epoch + 1) % this.period === 0;
    if (isBest) await this.saveCheckpoint('model_best', at);
    if (last) await this.saveCheckpoint('model_final', at);
    else if (due) await this.saveCheckpoint(`model_${String(epoch).padStart(4, '0')}`, at);
  }

  override async afterTrain(): Promise<void> {
    if (this.trainer.outcome !== 'stopped') return;
    const path = await this.saveCheckpoint('model_interrupted', { metric: -1, epochDone: false });
    if (path) {
      logger.info(
        `Stopped (${this.trainer.stopReason}) after iteration ${this.trainer.iter} of ${this.trainer.maxIter}. ` +
          'To go on from here, run the same command with --resume',
      );
    }
  }

  override stateDict(): HookState {
    return { best_metric: this.bestMetric };
  }

  override loadStateDict(state: HookState): void {
    this.bestMetric = Number(state.best_metric ?? -1);
  }

  /** The metric when it belongs to the weights as they are now, else −1. */
  private freshMetric(): number {
    const { storage } = this.trainer;
    if (!storage.has(this.metricName)) return -1;
    const history = storage.history(this.metricName);
    return history.latestIteration() === storage.iter ? history.latest() : -1;
  }
}
