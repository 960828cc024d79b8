import type { DeviceLike } from '../device.js';
import { float32 } from '../dtype.js';
import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { type Bucket, checkRange, Optimizer, type ParamGroup, type Params } from './optimizer.js';

/** Options that all optimizers without a fused kernel know. */
export interface ForeachOptions {
  lr?: number;
  /** Added to the gradient, times the parameter (default 0). */
  weightDecay?: number;
  maximize?: boolean;
  /**
   * Order of operations, as in PyTorch: true is that of its foreach implementation, false that of its
   * implementation for single tensors, whose last bits differ; null (the default) is PyTorch's default, false on
   * the CPU and true elsewhere. Either way the operators are `_foreach_` ones.
   */
  foreach?: boolean | null;
}

export interface ForeachGroup extends ParamGroup {
  maximize: boolean;
  foreach: boolean | null;
  decoupled_weight_decay?: boolean;
}

/** State of the parameters of a step: of each name, one tensor a parameter. */
export type StateLists = Record<string, Tensor[]>;

/**
 * Base of the optimizers that step with `_foreach_` operators. A subclass names its state and does one step; the
 * count of steps, `maximize` and weight decay are done here.
 */
export abstract class ForeachOptimizer<G extends ForeachGroup> extends Optimizer<G> {
  constructor(params: Params, defaults: Record<string, unknown>) {
    super(params, defaults);
    const who = this.constructor.name;
    for (const [key, value] of Object.entries(defaults)) {
      const below = key === 'betas' ? 1 : Number.POSITIVE_INFINITY;
      for (const [i, one] of (Array.isArray(value) ? value : [value]).entries()) {
        const name = Array.isArray(value) ? `${key}[${i}]` : key;
        if (typeof one === 'number') checkRange(who, name, one, below);
      }
    }
  }

  protected get hyperKeys(): readonly string[] {
    return Object.keys(this.defaults);
  }

  /** Names of the state besides `step`, in PyTorch's order. */
  protected abstract stateNames(group: G): readonly string[];

  /** A parameter's state before its first step. */
  protected initialState(_name: string, param: Tensor, _group: G): Tensor {
    return aten.zeros_like(param);
  }

  /** One step of parameters that share hyper-parameters; `counts` are their steps, this one included. */
  protected abstract stepWith(
    group: G,
    params: Tensor[],
    grads: Tensor[],
    state: StateLists,
    counts: number[],
  ): void;

  protected update(group: G, params: Tensor[], grads: Tensor[], bucket: Bucket<G> | null): void {
    const names = ['step', ...this.stateNames(group)];
    const lists = this.stateLists(names, params, bucket, (name, param) => {
      if (name !== 'step') return this.initialState(name, param, group);
      return scalar(0, this.scalarDevice(param, group));
    });
    const state = Object.fromEntries(names.map((name, i) => [name, lists[i] as Tensor[]]));
    const counts = countStep(state.step as Tensor[]);
    this.stepWith(group, params, effectiveGrads(group, params, grads), state, counts);
  }
}

/** A float32 scalar, as PyTorch keeps counts and products in its states. */
export function scalar(value: number, device: DeviceLike): Tensor {
  return aten.full([], value, { dtype: float32, device });
}

/** The values of scalars. */
export function valuesOf(scalars: readonly Tensor[]): number[] {
  return Array.from(aten.stack(scalars).cpu().toTypedArray() as Float32Array);
}

/** Adds one to each count of steps and returns the counts. */
export function countStep(steps: readonly Tensor[]): number[] {
  aten._foreach_add_(steps, 1);
  return valuesOf(steps);
}

/** The gradients to descend by: negated with `maximize`, the weight decay added or, decoupled, applied. */
export function effectiveGrads(
  group: ForeachGroup | (ParamGroup & { maximize: boolean; decoupled_weight_decay?: boolean }),
  params: readonly Tensor[],
  given: readonly Tensor[],
): Tensor[] {
  const { weight_decay: decay, lr } = group;
  const grads = group.maximize ? aten._foreach_neg(given) : (given as Tensor[]);
  // Rprop's groups have none.
  if (!decay) return grads;
  if (!group.decoupled_weight_decay) return aten._foreach_add(grads, params, { alpha: decay });
  aten._foreach_mul_(params, 1 - lr * decay);
  return grads;
}

/** The running averages of Adam's family. */
export function updateMoments(
  [beta1, beta2]: readonly [number, number],
  grads: readonly Tensor[],
  expAvgs: readonly Tensor[],
  expAvgSqs: readonly Tensor[],
): void {
  aten._foreach_lerp_(expAvgs, grads, 1 - beta1);
  aten._foreach_mul_(expAvgSqs, beta2);
  aten._foreach_addcmul_(expAvgSqs, grads, grads, 1 - beta2);
}

/** Whether the order of operations is that of PyTorch's foreach implementation; see `ForeachOptions.foreach`. */
export function inForeachOrder(group: ForeachGroup, params: readonly Tensor[]): boolean {
  return group.foreach ?? params[0]?.device.type !== 'cpu';
}
