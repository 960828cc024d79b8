import { logger } from '../../logger.js';
import type { nn } from '../../torch/index.js';
import { type StatsBatch, updateBnStats } from '../bn-stats.js';
import { HookBase } from '../train-loop.js';

/**
 * After the last epoch, replaces the moving averages of batch normalisation by the average over batches of the
 * weights as they are then; see `updateBnStats`. Registered before evaluation and checkpoints, which get its result.
 */
export class PreciseBN<B extends StatsBatch> extends HookBase {
  readonly #model: nn.AnyModule & { call(batch: B): unknown };
  readonly #batches: AsyncIterable<B>;
  readonly #iterations: number;

  /**
   * @param batches a source of its own, as training's would lose its place
   * @param iterations how many of them to average over
   */
  constructor(
    model: nn.AnyModule & { call(batch: B): unknown },
    batches: AsyncIterable<B>,
    iterations: number,
  ) {
    super();
    this.#model = model;
    this.#batches = batches;
    this.#iterations = iterations;
  }

  override async afterEpoch(): Promise<void> {
    if (this.trainer.epoch + 1 === this.trainer.maxEpoch) await this.updateStats();
  }

  /** Does it now. */
  async updateStats(): Promise<void> {
    logger.info(`Precise batch norm: statistics of ${this.#iterations} batches`);
    await updateBnStats(this.#model, this.#batches, this.#iterations);
  }
}
