import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { type ForeachGroup, ForeachOptimizer, type ForeachOptions, type StateLists } from './foreach.js';
import type { Params } from './optimizer.js';

export interface AdamaxOptions extends ForeachOptions {
  /** Decay of the average of the gradient and of its infinity norm (default [0.9, 0.999]). */
  betas?: readonly [number, number];
  /** Added to the gradient's absolute value (default 1e-8). */
  eps?: number;
}

export interface AdamaxGroup extends ForeachGroup {
  betas: [number, number];
  eps: number;
}

/** Adam with the infinity norm in place of the second moment (Kingma & Ba 2014); lr 2e-3 by default. */
export class Adamax extends ForeachOptimizer<AdamaxGroup> {
  constructor(params: Params, options: AdamaxOptions = {}) {
    const { lr = 2e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0 } = options;
    const { maximize = false, foreach = null } = options;
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      betas,
      eps,
      weight_decay: weightDecay,
      foreach,
      maximize,
      differentiable: false,
      capturable: false,
    });
  }

  protected stateNames(): readonly string[] {
    return ['exp_avg', 'exp_inf'];
  }

  protected stepWith(
    { lr, eps, betas: [beta1, beta2] }: AdamaxGroup,
    params: Tensor[],
    grads: Tensor[],
    { exp_avg: expAvgs = [], exp_inf: norms = [] }: StateLists,
    counts: number[],
  ): void {
    aten._foreach_lerp_(expAvgs, grads, 1 - beta1);
    aten._foreach_mul_(norms, beta2);
    const sizes = aten._foreach_abs(grads);
    aten._foreach_add_(sizes, eps);
    aten._foreach_maximum_(norms, sizes);
    const steps = counts.map((count) => -(lr / (1 - beta1 ** count)));
    aten._foreach_addcdiv_(params, expAvgs, norms, steps);
  }
}
