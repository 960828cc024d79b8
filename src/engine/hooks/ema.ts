import type { nn } from '../../torch/index.js';
import { AveragedWeights } from '../averaged-weights.js';
import { HookBase, type HookState } from '../train-loop.js';

/**
 * Keeps an exponential moving average of the weights, `average = momentum · average + (1 − momentum) · weights`
 * after every step, beginning with the weights after the first. Buffers are the model's own.
 *
 * From the end of an epoch to the beginning of the next, and after training, the model has the averages: they are
 * what is evaluated and what a checkpoint's `model` holds; the weights that training goes on from are in the hook's
 * state. To be registered before whatever evaluates or saves.
 */
export class EMA extends HookBase {
  readonly #averages: AveragedWeights;
  readonly #share: number;

  /** @param momentum 0 to 1; the average looks back over some 1 / (1 − momentum) steps */
  constructor(model: nn.AnyModule, momentum: number) {
    super();
    if (!(momentum >= 0 && momentum < 1)) {
      throw new RangeError(`SOLVER.EMA.MOMENTUM is ${momentum}; it must be at least 0 and below 1`);
    }
    this.#averages = new AveragedWeights(model);
    this.#share = 1 - momentum;
  }

  override beforeEpoch(): void {
    if (this.#averages.exchanged) this.#averages.exchange();
  }

  override afterStep(): void {
    this.#averages.update(this.#share);
  }

  override afterEpoch(): void {
    this.#averages.exchange();
  }

  override afterTrain(): void {
    if (!this.#averages.exchanged) this.#averages.exchange();
  }

  override stateDict(): HookState {
    return this.#averages.stateDict();
  }

  override loadStateDict(state: HookState): void {
    this.#averages.loadStateDict(state);
  }
}
