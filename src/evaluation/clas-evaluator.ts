import { UNREAD } from '../data/labels.js';
import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import type { DatasetEvaluator, Labels } from './reid-evaluator.js';
import type { Results } from './results.js';

/**
 * Evaluates a classifier (`ClasHead`): the share of images whose largest logit is that of their class, in percent, as
 * `Acc@1` and as `metric`. Images that could not be read do not count.
 */
export class ClasEvaluator implements DatasetEvaluator {
  private readonly imageName: (index: number) => string;
  private correct = 0;
  private unread = 0;
  private images = 0;

  /** @param imageName what images are called in messages, by their position */
  constructor({ imageName = (index) => `number ${index}` }: { imageName?: (index: number) => string } = {}) {
    this.imageName = imageName;
  }

  reset(): void {
    this.correct = 0;
    this.unread = 0;
    this.images = 0;
  }

  /** @param logits [batch, classes]; `labels.pids` are the classes */
  process(logits: Tensor, { pids }: Pick<Labels, 'pids'>): void {
    const [n, classes] = logits.shape;
    if (logits.dim() !== 2 || pids.length !== n) {
      throw new Error(`ClasEvaluator: ${pids.length} classes for logits of shape [${logits.shape}]`);
    }
    const largest = logits.argmax(1).int().toTypedArray() as Int32Array;
    for (let i = 0; i < n; i++) {
      const pid = pids[i];
      if (pid === UNREAD) this.unread++;
      else if (!Number.isInteger(pid) || pid < 0 || pid >= classes) {
        const name = this.imageName(this.images + i);
        throw new Error(
          `ClasEvaluator: image ${name} has class ${pid}, but the model knows classes 0 to ${classes - 1}`,
        );
      } else if (largest[i] === pid) this.correct++;
    }
    this.images += n;
  }

  evaluate(): Results {
    if (this.images === 0) throw new Error('ClasEvaluator: there were no images to evaluate');
    const counted = this.images - this.unread;
    if (counted === 0) throw new Error(`ClasEvaluator: none of the ${this.images} images could be read`);
    if (this.unread > 0) {
      logger.warn(`${this.unread} of ${this.images} images could not be read and are not evaluated`);
    }
    const accuracy = (100 * this.correct) / counted;
    return { 'Acc@1': accuracy, metric: accuracy };
  }
}
