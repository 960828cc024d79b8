import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { effectiveGrads } from './foreach.js';
import { type Bucket, checkRange, Optimizer, type ParamGroup, type Params } from './optimizer.js';

export interface SGDOptions {
  /** Learning rate (default 1e-3). */
  lr?: number;
  momentum?: number;
  /** Part of the gradient that does not enter the momentum (default 0). */
  dampening?: number;
  /** Added to the gradient, times the parameter (default 0). */
  weightDecay?: number;
  nesterov?: boolean;
  maximize?: boolean;
  /** false: `_foreach_` operators, whose rounding is that of PyTorch's default on CPU, not the fused kernel. */
  fused?: boolean | null;
  /** Steps can be recorded in a CUDA graph; see `Optimizer.capturable` (default false). No part of the state dict. */
  capturable?: boolean;
}

export interface SGDGroup extends ParamGroup {
  momentum: number;
  dampening: number;
  nesterov: boolean;
  maximize: boolean;
  fused: boolean | null;
}

/** Stochastic gradient descent, with momentum where given. */
export class SGD extends Optimizer<SGDGroup> {
  constructor(params: Params, options: SGDOptions = {}) {
    const { lr = 1e-3, momentum = 0, dampening = 0, weightDecay = 0, nesterov = false } = options;
    const { maximize = false, fused = null } = options;
    checkRange('SGD', 'lr', lr);
    checkRange('SGD', 'momentum', momentum);
    checkRange('SGD', 'weightDecay', weightDecay);
    if (nesterov && (momentum <= 0 || dampening !== 0)) {
      throw new RangeError('SGD: Nesterov momentum requires a momentum and zero dampening');
    }
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      momentum,
      dampening,
      weight_decay: weightDecay,
      nesterov,
      maximize,
      foreach: null,
      differentiable: false,
      fused,
    });
    if (options.capturable) this.capturable = true;
  }

  override get canCapture(): boolean {
    return this.paramGroups.every(({ fused }) => fused !== false);
  }

  protected get hyperKeys(): readonly string[] {
    return ['lr', 'momentum', 'dampening', 'weight_decay', 'nesterov', 'maximize', 'fused'];
  }

  protected update(
    group: SGDGroup,
    params: Tensor[],
    grads: Tensor[],
    bucket: Bucket<SGDGroup> | null,
  ): void {
    if (group.momentum === 0) {
      this.stepSome(group, params, grads, [], false);
      return;
    }
    const isNew = bucket?.lists ? [] : params.map((p) => this.state.get(p)?.momentum_buffer === undefined);
    if (!isNew.includes(true)) {
      this.stepSome(group, params, grads, this.stateLists(STATE, params, bucket, newBuffer), false);
      return;
    }
    const [buffers = []] = this.stateLists(STATE, params, null, newBuffer);
    // The first gradient of a parameter becomes its momentum as it is, without dampening.
    for (const first of [true, false]) {
      const chosen = <T>(all: T[]): T[] => all.filter((_, i) => isNew[i] === first);
      const some = chosen(params);
      if (some.length > 0) this.stepSome(group, some, chosen(grads), [chosen(buffers)], first);
    }
  }

  private stepSome(
    group: SGDGroup,
    params: Tensor[],
    grads: Tensor[],
    lists: Tensor[][],
    first: boolean,
  ): void {
    const aligned = this.aligned(params, grads, STATE, lists);
    const [buffers = []] = lists;
    if (group.fused === false || aligned === null) {
      if (!this.leftOut()) withForeach(group, params, grads, buffers, first);
      return;
    }
    const options = {
      weight_decay: group.weight_decay,
      momentum: group.momentum,
      dampening: group.dampening,
      nesterov: group.nesterov,
      maximize: group.maximize,
      is_first_step: first,
      found_inf: this.foundInfThere,
    };
    // The two signatures of the kernel.
    const { rate } = this;
    if (typeof rate === 'number') aten._fused_sgd_(params, aligned, buffers, { ...options, lr: rate });
    else aten._fused_sgd_(params, aligned, buffers, { ...options, lr: rate });
  }
}

const STATE = ['momentum_buffer'];
// Zeros, as a first step that the device leaves out writes nothing.
const newBuffer = (_: string, param: Tensor): Tensor => aten.zeros_like(param);

/** The same step by `_foreach_` operators, in the order of operations of PyTorch's. */
function withForeach(
  group: SGDGroup,
  params: Tensor[],
  given: Tensor[],
  buffers: Tensor[],
  first: boolean,
): void {
  const { momentum, dampening, lr } = group;
  let grads = effectiveGrads(group, params, given);
  if (momentum !== 0) {
    if (first) {
      aten._foreach_copy_(buffers, grads);
    } else {
      aten._foreach_mul_(buffers, momentum);
      aten._foreach_add_(buffers, grads, { alpha: 1 - dampening });
    }
    grads = group.nesterov ? aten._foreach_add(grads, buffers, { alpha: momentum }) : buffers;
  }
  aten._foreach_add_(params, grads, { alpha: -lr });
}
