import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { LabelledImage } from './dataset.js';
import { UNREAD } from './labels.js';

/** A picture of a batch that could not be loaded. */
export interface BrokenImage {
  /** Its place in the batch. */
  readonly index: number;
  readonly message: string;
}

/**
 * Goes on without pictures that cannot be loaded (DATALOADER.SKIP_BROKEN), so that batches keep their size. In training
 * another picture of the batch takes the place of a broken one: one of the same identity, if there is one, so that P × K
 * batches stay what they are. In a test set it becomes black, and its identity {@link UNREAD}. Each file is warned of once, with a
 * running count.
 */
export class BrokenImages {
  readonly #training: boolean;
  readonly #seen = new Set<string>();

  constructor(training: boolean) {
    this.#training = training;
  }

  /**
   * @param batch N × …; the rows of `broken` are filled in
   * @param labels of the batch, changed likewise
   * @throws when a training batch has no picture left
   */
  replace(broken: readonly BrokenImage[], batch: Tensor, labels: LabelledImage[]): void {
    for (const { index, message } of broken) this.#warn(labels[index].imgPath, message);
    const bad = new Set(broken.map(({ index }) => index));
    const good = labels.flatMap((_, i) => (bad.has(i) ? [] : [i]));
    if (this.#training && good.length === 0) {
      const { index, message } = broken[0];
      const others = broken.length > 1 ? `, nor can the ${broken.length - 1} others of the batch` : '';
      throw new Error(`'${labels[index].imgPath}' cannot be loaded (${message})${others}`);
    }
    torch.scope(() => {
      for (const index of bad) {
        const row = batch.select(0, index);
        if (this.#training) {
          const same =
            good.find((i) => labels[i].target === labels[index].target) ?? good[index % good.length];
          row.copy_(batch.select(0, same));
          labels[index] = labels[same];
        } else {
          row.zero_();
          labels[index] = { ...labels[index], target: UNREAD };
        }
      }
    });
  }

  #warn(path: string, message: string): void {
    if (this.#seen.has(path)) return;
    this.#seen.add(path);
    const what = this.#training ? 'not trained on' : 'not evaluated';
    logger.warn(`'${path}' cannot be loaded (${message}) and is ${what}; ${this.#seen.size} such so far`);
  }
}
