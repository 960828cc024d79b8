import type { DeviceLike } from '../device.js';
import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import {
  type ForeachGroup,
  ForeachOptimizer,
  type ForeachOptions,
  inForeachOrder,
  type StateLists,
  scalar,
} from './foreach.js';
import type { Bucket, Params } from './optimizer.js';

export interface AdagradOptions extends ForeachOptions {
  /** The rate of step t is lr / (1 + (t − 1) · lrDecay) (default 0). */
  lrDecay?: number;
  /** Sum of squares before the first step (default 0). */
  initialAccumulatorValue?: number;
  /** Added to the denominator (default 1e-10). */
  eps?: number;
  /** One kernel for the whole step; null (the default): on the CPU, unless `foreach` is given. */
  fused?: boolean | null;
}

export interface AdagradGroup extends ForeachGroup {
  lr_decay: number;
  eps: number;
  fused: boolean | null;
}

/** Adagrad (Duchi et al. 2011): divides by the root of the sum of all squared gradients; lr 1e-2 by default. */
export class Adagrad extends ForeachOptimizer<AdagradGroup> {
  constructor(params: Params, options: AdagradOptions = {}) {
    const { lr = 1e-2, lrDecay = 0, eps = 1e-10, weightDecay = 0, initialAccumulatorValue = 0 } = options;
    const { foreach = null, maximize = false, fused = null } = options;
    if (fused && foreach) throw new RangeError('Adagrad: fused and foreach cannot both be true');
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      lr_decay: lrDecay,
      eps,
      weight_decay: weightDecay,
      initial_accumulator_value: initialAccumulatorValue,
      foreach,
      maximize,
      differentiable: false,
      fused,
    });
    // Unlike the others', this state is there before the first step in PyTorch too.
    for (const group of this.paramGroups) this.lists(group, group.params, null);
  }

  private lists(group: AdagradGroup, params: Tensor[], bucket: Bucket<AdagradGroup> | null): Tensor[][] {
    return this.stateLists(['step', 'sum'], params, bucket, (name, param) =>
      name === 'step' ? scalar(0, this.scalarDevice(param, group)) : this.initialState(name, param),
    );
  }

  protected stateNames(): readonly string[] {
    return ['sum'];
  }

  protected override initialState(_: string, param: Tensor): Tensor {
    return aten.full_like(param, this.defaults.initial_accumulator_value as number);
  }

  protected override scalarDevice(param: Tensor, group: AdagradGroup): DeviceLike {
    return isFused(group, param) ? param.device : 'cpu';
  }

  protected override update(
    group: AdagradGroup,
    params: Tensor[],
    grads: Tensor[],
    bucket: Bucket<AdagradGroup> | null,
  ): void {
    if (!isFused(group, params[0] as Tensor)) {
      super.update(group, params, grads, bucket);
      return;
    }
    const [steps = [], sums = []] = this.lists(group, params, bucket);
    const aligned = this.aligned(params, grads, ['sum'], [sums]);
    if (aligned === null) {
      super.update(group, params, grads, bucket);
      return;
    }
    aten._foreach_add_(steps, 1);
    aten._fused_adagrad_(params, aligned, sums, steps, {
      lr: group.lr,
      lr_decay: group.lr_decay,
      weight_decay: group.weight_decay,
      eps: group.eps,
      maximize: group.maximize,
    });
  }

  protected stepWith(
    group: AdagradGroup,
    params: Tensor[],
    grads: Tensor[],
    { sum: sums = [] }: StateLists,
    counts: number[],
  ): void {
    const rates = counts.map((count) => -(group.lr / (1 + (count - 1) * group.lr_decay)));
    aten._foreach_addcmul_(sums, grads, grads, 1);
    const roots = aten._foreach_sqrt(sums);
    aten._foreach_add_(roots, group.eps);
    if (inForeachOrder(group, params)) {
      aten._foreach_addcdiv_(params, aten._foreach_mul(grads, rates), roots);
    } else {
      aten._foreach_addcdiv_(params, grads, roots, rates);
    }
  }
}

/** Not every libtorch has the kernel for other devices than the CPU. */
function isFused({ fused, foreach }: AdagradGroup, param: Tensor): boolean {
  return fused ?? ((foreach ?? null) === null && param.device.type === 'cpu');
}
