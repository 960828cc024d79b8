import type { Tensor } from '../torch/index.js';
import type { DatasetEvaluator, Labels } from './reid-evaluator.js';
import type { Results } from './results.js';

/**
 * Evaluates a classifier (`ClasHead`): the share of images whose largest logit is that of their class, in percent, as
 * `Acc@1` and as `metric`.
 */
export class ClasEvaluator implements DatasetEvaluator {
  private correct = 0;
  private images = 0;

  reset(): void {
    this.correct = 0;
    this.images = 0;
  }

  /** @param logits [batch, classes]; `labels.pids` are the classes */
  process(logits: Tensor, { pids }: Pick<Labels, 'pids'>): void {
    const [n, classes] = logits.shape;
    if (logits.dim() !== 2 || pids.length !== n) {
      throw new Error(`ClasEvaluator: ${pids.length} classes for logits of shape [${logits.shape}]`);
    }
    const outside = Array.from(pids).find((pid) => !Number.isInteger(pid) || pid < 0 || pid >= classes);
    if (outside !== undefined) {
      throw new Error(
        `ClasEvaluator: an image has class ${outside}, but the model knows classes 0 to ${classes - 1}`,
      );
    }
    const largest = logits.argmax(1).int().toTypedArray() as Int32Array;
    for (let i = 0; i < n; i++) if (largest[i] === pids[i]) this.correct++;
    this.images += n;
  }

  evaluate(): Results {
    if (this.images === 0) throw new Error('ClasEvaluator: there were no images to evaluate');
    const accuracy = (100 * this.correct) / this.images;
    return { 'Acc@1': accuracy, metric: accuracy };
  }
}
