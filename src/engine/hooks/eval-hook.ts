import { flattenResults, type NestedResults } from '../../evaluation/results.js';
import { HookBase } from '../train-loop.js';

/**
 * Evaluates every `period` epochs and after the last one, and puts the results into the storage under their names
 * (`mAP`, or `Market1501/mAP` with several test sets). Registered before the checkpointer, so that a checkpoint
 * knows its own result. A period of 0 leaves only the evaluation at the end.
 */
export class EvalHook extends HookBase {
  private readonly period: number;
  private readonly evaluate: () => NestedResults | Promise<NestedResults>;

  constructor(period: number, evaluate: () => NestedResults | Promise<NestedResults>) {
    super();
    this.period = period;
    this.evaluate = evaluate;
  }

  override async afterEpoch(): Promise<void> {
    const done = this.trainer.epoch + 1;
    const due = this.period > 0 && done % this.period === 0;
    if (!due && done < this.trainer.maxEpoch) return;
    this.trainer.storage.putScalars(flattenResults(await this.evaluate()), { smoothing: false });
  }
}
