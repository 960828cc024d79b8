import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { HookState } from './train-loop.js';

/**
 * A second set of weights beside a model's: their running average. The two can be exchanged, so that the model is
 * evaluated and saved with the averages; while they are, the weights that training goes on from are kept here.
 * Buffers are not averaged: running statistics stay the model's own.
 */
export class AveragedWeights {
  readonly #weights: readonly (readonly [string, Tensor])[];
  #others: Tensor[] | undefined;
  #count = 0;
  #exchanged = false;

  /** @param model with its parameters in place; those added later are not averaged */
  constructor(model: torch.nn.AnyModule) {
    this.#weights = [...model.namedParameters()];
  }

  /** Weights averaged so far. */
  get count(): number {
    return this.#count;
  }

  /** Whether the model has the averages now. */
  get exchanged(): boolean {
    return this.#exchanged;
  }

  /**
   * `average += share · (weights − average)`; the first time, the average becomes the weights.
   *
   * @param share of the newest weights
   */
  update(share: number): void {
    if (this.#exchanged)
      throw new Error('AveragedWeights: the model has the averages now; exchange them first');
    const weights = this.#weights.map(([, weight]) => weight);
    torch.noGrad(() => {
      if (this.#others === undefined || this.#count === 0) {
        this.#drop();
        this.#others = weights.map((weight) => weight.detach().clone().keep());
      } else {
        torch._foreach_lerp_(this.#others, weights, share);
      }
    });
    this.#count++;
  }

  /** Exchanges the model's weights and the averages. Without any averages, does nothing. */
  exchange(): void {
    const others = this.#others;
    if (others === undefined) return;
    torch.noGrad(() => {
      // One after the other, so that no third set is needed.
      for (const [i, [, weight]] of this.#weights.entries()) {
        torch.scope(() => {
          const kept = weight.detach().clone();
          weight.copy_(others[i]);
          others[i].copy_(kept);
        });
      }
    });
    this.#exchanged = !this.#exchanged;
  }

  /** The weights that the model does not have now, and which they are. */
  stateDict(): HookState {
    const weights = this.#weights.flatMap(([name], i): [string, Tensor][] =>
      this.#others === undefined ? [] : [[name, this.#others[i]]],
    );
    return { count: this.#count, exchanged: this.#exchanged, weights: new Map(weights) };
  }

  /** @throws when the weights are not this model's */
  loadStateDict(state: HookState): void {
    const given = (state.weights ?? {}) as ReadonlyMap<string, Tensor> | Record<string, Tensor>;
    const saved = given instanceof Map ? given : new Map(Object.entries(given));
    const loaded = this.#weights.flatMap(([name, weight]): Tensor[] => {
      const found: Tensor | undefined = saved.get(name);
      if (found === undefined) {
        if (saved.size === 0) return [];
        throw new Error(`the checkpoint's averaged weights lack '${name}': they are another model's`);
      }
      return [torch.noGrad(() => torch.empty_like(weight).copy_(found).keep())];
    });
    this.#drop();
    this.#others = loaded.length > 0 ? loaded : undefined;
    this.#count = Number(state.count);
    this.#exchanged = state.exchanged === true;
  }

  #drop(): void {
    for (const other of this.#others ?? []) other.dispose();
    this.#others = undefined;
  }
}
