import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { type ForeachGroup, ForeachOptimizer, type ForeachOptions, type StateLists } from './foreach.js';
import type { Params } from './optimizer.js';

export interface RMSpropOptions extends ForeachOptions {
  /** Decay of the average of the squared gradient (default 0.99). */
  alpha?: number;
  /** Added to the denominator (default 1e-8). */
  eps?: number;
  momentum?: number;
  /** Divide by the estimated variance of the gradient instead of its second moment (default false). */
  centered?: boolean;
}

export interface RMSpropGroup extends ForeachGroup {
  alpha: number;
  eps: number;
  momentum: number;
  centered: boolean;
}

/** RMSprop (Hinton 2012), centred as in Graves 2013 where asked; lr 1e-2 by default. */
export class RMSprop extends ForeachOptimizer<RMSpropGroup> {
  constructor(params: Params, options: RMSpropOptions = {}) {
    const { lr = 1e-2, alpha = 0.99, eps = 1e-8, weightDecay = 0, momentum = 0 } = options;
    const { centered = false, maximize = false, foreach = null } = options;
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      momentum,
      alpha,
      eps,
      centered,
      weight_decay: weightDecay,
      capturable: false,
      foreach,
      maximize,
      differentiable: false,
    });
  }

  protected stateNames({ momentum, centered }: RMSpropGroup): readonly string[] {
    return ['square_avg', ...(momentum > 0 ? ['momentum_buffer'] : []), ...(centered ? ['grad_avg'] : [])];
  }

  protected stepWith(
    { lr, alpha, eps, momentum }: RMSpropGroup,
    params: Tensor[],
    grads: Tensor[],
    { square_avg: squares = [], momentum_buffer: buffers, grad_avg: means }: StateLists,
  ): void {
    aten._foreach_mul_(squares, alpha);
    aten._foreach_addcmul_(squares, grads, grads, 1 - alpha);
    let denominators: Tensor[];
    if (means === undefined) {
      denominators = aten._foreach_sqrt(squares);
    } else {
      aten._foreach_lerp_(means, grads, 1 - alpha);
      denominators = aten._foreach_addcmul(squares, means, means, -1);
      aten._foreach_sqrt_(denominators);
    }
    aten._foreach_add_(denominators, eps);
    if (buffers === undefined) {
      aten._foreach_addcdiv_(params, grads, denominators, -lr);
      return;
    }
    aten._foreach_mul_(buffers, momentum);
    aten._foreach_addcdiv_(buffers, grads, denominators);
    aten._foreach_add_(params, buffers, { alpha: -lr });
  }
}
