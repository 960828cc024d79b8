import type { DeviceLike } from '../device.js';
import { float32 } from '../dtype.js';
import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { countStep, effectiveGrads, updateMoments } from './foreach.js';
import { type Bucket, checkRange, Optimizer, type ParamGroup, type Params } from './optimizer.js';

export interface AdamOptions {
  /** Learning rate (default 1e-3). */
  lr?: number;
  /** Decay of the averages of the gradient and of its square (default [0.9, 0.999]). */
  betas?: readonly [number, number];
  /** Added to the denominator (default 1e-8). */
  eps?: number;
  /** Adam: added to the gradient (default 0). AdamW: the parameter's own decay (default 1e-2). */
  weightDecay?: number;
  /** Divide by the largest second moment so far (default false). */
  amsgrad?: boolean;
  maximize?: boolean;
  /** false: `_foreach_` operators, whose rounding is that of PyTorch's default on CPU, not the fused kernel. */
  fused?: boolean | null;
  /** Steps can be recorded in a CUDA graph; see `Optimizer.capturable` (default false). */
  capturable?: boolean;
}

export interface AdamGroup extends ParamGroup {
  betas: [number, number];
  eps: number;
  amsgrad: boolean;
  maximize: boolean;
  fused: boolean | null;
  decoupled_weight_decay: boolean;
}

/** What Adam and AdamW share: all but the defaults. */
abstract class AdamBase extends Optimizer<AdamGroup> {
  constructor(params: Params, options: AdamOptions, weightDecay: number, decoupled: boolean) {
    super(params, defaultsOf(decoupled ? 'AdamW' : 'Adam', options, weightDecay, decoupled));
    if (options.capturable) this.capturable = true;
  }

  override get canCapture(): boolean {
    return this.paramGroups.every(({ fused }) => fused !== false);
  }

  protected get hyperKeys(): readonly string[] {
    return ['lr', 'weight_decay', 'betas', 'eps', 'amsgrad', 'maximize', 'fused', 'decoupled_weight_decay'];
  }

  // The fused kernels want the count of steps beside the parameter.
  protected override scalarDevice(param: Tensor): DeviceLike {
    return param.device;
  }

  protected update(
    group: AdamGroup,
    params: Tensor[],
    grads: Tensor[],
    bucket: Bucket<AdamGroup> | null,
  ): void {
    const names = group.amsgrad ? WITH_MAXIMUM : WITHOUT_MAXIMUM;
    const [steps = [], ...moments] = this.stateLists(names, params, bucket, fresh);
    const aligned = this.aligned(params, grads, names.slice(1), moments);
    const [expAvgs = [], expAvgSqs = [], maxima = []] = moments;
    if (group.fused === false || aligned === null) {
      if (!this.leftOut()) withForeach(group, params, grads, { steps, expAvgs, expAvgSqs, maxima });
      return;
    }
    aten._foreach_add_(steps, 1);
    const kernel = group.decoupled_weight_decay ? aten._fused_adamw_ : aten._fused_adam_;
    const foundInf = this.foundInfThere;
    const options = {
      beta1: group.betas[0],
      beta2: group.betas[1],
      weight_decay: group.weight_decay,
      eps: group.eps,
      amsgrad: group.amsgrad,
      maximize: group.maximize,
      found_inf: foundInf,
    };
    // The two signatures of the kernel.
    const { rate } = this;
    if (typeof rate === 'number')
      kernel(params, aligned, expAvgs, expAvgSqs, maxima, steps, { ...options, lr: rate });
    else kernel(params, aligned, expAvgs, expAvgSqs, maxima, steps, { ...options, lr: rate });
    // A step that changes nothing does not count.
    if (foundInf !== null)
      aten._foreach_sub_(
        steps,
        steps.map(() => foundInf),
      );
  }
}

/** Adam ("Adam: A Method for Stochastic Optimization", 2014). */
export class Adam extends AdamBase {
  constructor(params: Params, options: AdamOptions = {}) {
    super(params, options, 0, false);
  }
}

/** Adam with weight decay apart from the gradient ("Decoupled Weight Decay Regularization", 2017). */
export class AdamW extends AdamBase {
  constructor(params: Params, options: AdamOptions = {}) {
    super(params, options, 1e-2, true);
  }

  override loadStateDict(state: unknown): void {
    super.loadStateDict(state);
    // Checkpoints older than PyTorch 2.6 do not have the key.
    for (const group of this.paramGroups) group.decoupled_weight_decay = true;
  }
}

// In PyTorch's order. The first is a scalar, the others have their parameter's shape.
const WITHOUT_MAXIMUM = ['step', 'exp_avg', 'exp_avg_sq'];
const WITH_MAXIMUM = [...WITHOUT_MAXIMUM, 'max_exp_avg_sq'];

function fresh(name: string, param: Tensor): Tensor {
  return name === 'step' ? aten.zeros([], { dtype: float32, device: param.device }) : aten.zeros_like(param);
}

/** Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable. */
function defaultsOf(
  who: string,
  options: AdamOptions,
  defaultDecay: number,
  decoupled: boolean,
): Record<string, unknown> {
  const {
    lr = 1e-3,
    betas = [0.9, 0.999],
    eps = 1e-8,
    weightDecay = defaultDecay,
    amsgrad = false,
  } = options;
  const { maximize = false, fused = null } = options;
  checkRange(who, 'lr', lr);
  checkRange(who, 'eps', eps);
  checkRange(who, 'betas[0]', betas[0], 1);
  checkRange(who, 'betas[1]', betas[1], 1);
  checkRange(who, 'weightDecay', weightDecay);
  return {
    lr,
    betas,
    eps,
    weight_decay: weightDecay,
    amsgrad,
    maximize,
    foreach: null,
    capturable: false,
    differentiable: false,
    fused,
    decoupled_weight_decay: decoupled,
  };
}

interface Moments {
  steps: Tensor[];
  expAvgs: Tensor[];
  expAvgSqs: Tensor[];
  maxima: Tensor[];
}

/** The same step by `_foreach_` operators, in the order of operations of PyTorch's. */
function withForeach(group: AdamGroup, params: Tensor[], given: Tensor[], moments: Moments): void {
  const { steps, expAvgs, expAvgSqs, maxima } = moments;
  const { lr, eps, betas } = group;
  const [beta1, beta2] = betas;
  const counts = countStep(steps);
  updateMoments(betas, effectiveGrads(group, params, given), expAvgs, expAvgSqs);
  if (group.amsgrad) aten._foreach_maximum_(maxima, expAvgSqs);
  const denominators = aten._foreach_sqrt(group.amsgrad ? maxima : expAvgSqs);
  aten._foreach_div_(
    denominators,
    counts.map((count) => Math.sqrt(1 - beta2 ** count)),
  );
  aten._foreach_add_(denominators, eps);
  const sizes = counts.map((count) => -(lr / (1 - beta1 ** count)));
  aten._foreach_addcdiv_(params, expAvgs, denominators, sizes);
}
