import { logger } from '../../logger.js';
import type { Freezing } from '../../solver/index.js';
import type { nn } from '../../torch/index.js';
import { HookBase, type HookState } from '../train-loop.js';

export interface LayerFreezeOptions {
  model: nn.AnyModule;
  /** Which parameters are frozen, by dotted name. */
  freezes: (parameter: string) => boolean;
  /** Modules that are in evaluation mode while frozen. */
  modules: readonly nn.AnyModule[];
  /** For how many iterations. */
  iterations: number;
  /** The optimizer's own count of frozen steps, which is kept right when a run is resumed. */
  freezing?: Freezing | undefined;
  /**
   * Put the modules into evaluation mode once and not again after an evaluation, which leaves the whole model in
   * training mode: FastReID's way. Default false.
   */
  once?: boolean;
  /** For the messages. */
  names?: readonly string[];
}

/**
 * Keeps layers as they are for the first iterations: their parameters get no gradients, which saves most of
 * backward, and their modules are in evaluation mode, so that running statistics stay too. Whether an iteration is
 * frozen follows from its number, in a resumed run as well.
 */
export class LayerFreeze extends HookBase {
  readonly #options: LayerFreezeOptions;
  /** Frozen parameters; undefined while nothing is frozen. */
  #frozen: nn.Parameter[] | undefined;
  /** Set by a checkpoint: the modules were back in training mode already. */
  #released = false;

  constructor(options: LayerFreezeOptions) {
    super();
    this.#options = options;
  }

  /** A run may be resumed where only the end of an epoch is left; the modes are those of its last step. */
  override beforeEpoch(): void {
    const { iter, iterInEpoch, itersPerEpoch } = this.trainer;
    this.#apply(iterInEpoch < itersPerEpoch ? iter : iter - 1);
  }

  override beforeStep(): void {
    this.#apply(this.trainer.iter);
  }

  #apply(iteration: number): void {
    const { iterations, freezing, once = false, modules } = this.#options;
    if (freezing) freezing.done = iteration;
    if (iteration >= iterations) {
      this.#released = false;
      if (this.#frozen) this.#open(this.#frozen);
      return;
    }
    const isNew = this.#frozen === undefined;
    if (isNew) this.#frozen = this.#freeze();
    if (once && (!isNew || this.#released)) return;
    for (const module of modules) if (module.training) module.eval();
  }

  #freeze(): nn.Parameter[] {
    const { model, freezes, iterations } = this.#options;
    const trainable = [...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
    const frozen = trainable.filter(([name]) => freezes(name)).map(([, parameter]) => parameter);
    if (frozen.length === trainable.length) {
      throw new Error('MODEL.FREEZE_LAYERS freezes every parameter of the model: there is nothing to train');
    }
    for (const parameter of frozen) {
      parameter.requiresGrad_(false);
      parameter.grad = null;
    }
    logger.info(`Freezing ${this.#names} (${frozen.length} parameters) until iteration ${iterations}`);
    return frozen;
  }

  #open(frozen: readonly nn.Parameter[]): void {
    for (const parameter of frozen) parameter.requiresGrad_(true);
    for (const module of this.#options.modules) module.train();
    this.#frozen = undefined;
    logger.info(`Training ${this.#names} from here on`);
  }

  get #names(): string {
    return this.#options.names?.join(', ') ?? 'layers';
  }

  override stateDict(): HookState | null {
    if (!this.#options.once) return null;
    const { modules } = this.#options;
    const released = this.#frozen === undefined ? this.#released : modules.some(({ training }) => training);
    return { released };
  }

  override loadStateDict(state: HookState): void {
    this.#released = state.released === true;
  }
}
