import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { type ForeachGroup, ForeachOptimizer, type ForeachOptions, type StateLists } from './foreach.js';
import type { Params } from './optimizer.js';

export interface AdadeltaOptions extends ForeachOptions {
  /** Decay of the averages, 0 to 1 (default 0.9). */
  rho?: number;
  /** Added under the roots (default 1e-6). */
  eps?: number;
}

export interface AdadeltaGroup extends ForeachGroup {
  rho: number;
  eps: number;
}

/** Adadelta (Zeiler 2012): steps as large as the steps so far were on average; lr 1 by default. */
export class Adadelta extends ForeachOptimizer<AdadeltaGroup> {
  constructor(params: Params, options: AdadeltaOptions = {}) {
    const { lr = 1, rho = 0.9, eps = 1e-6, weightDecay = 0, maximize = false, foreach = null } = options;
    if (rho > 1) throw new RangeError(`Adadelta: invalid rho: ${rho}`);
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      rho,
      eps,
      weight_decay: weightDecay,
      maximize,
      capturable: false,
      foreach,
      differentiable: false,
    });
  }

  protected stateNames(): readonly string[] {
    return ['square_avg', 'acc_delta'];
  }

  protected stepWith(
    { lr, rho, eps }: AdadeltaGroup,
    params: Tensor[],
    grads: Tensor[],
    { square_avg: squares = [], acc_delta: steps = [] }: StateLists,
  ): void {
    aten._foreach_mul_(squares, rho);
    aten._foreach_addcmul_(squares, grads, grads, 1 - rho);
    const sizes = aten._foreach_add(squares, eps);
    aten._foreach_sqrt_(sizes);
    const deltas = aten._foreach_add(steps, eps);
    aten._foreach_sqrt_(deltas);
    aten._foreach_div_(deltas, sizes);
    aten._foreach_mul_(deltas, grads);
    aten._foreach_mul_(steps, rho);
    aten._foreach_addcmul_(steps, deltas, deltas, 1 - rho);
    aten._foreach_add_(params, deltas, { alpha: -lr });
  }
}
