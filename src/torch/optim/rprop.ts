import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { type ForeachGroup, ForeachOptimizer, type ForeachOptions, type StateLists } from './foreach.js';
import type { Params } from './optimizer.js';

export interface RpropOptions extends Omit<ForeachOptions, 'weightDecay'> {
  /** Factors of the step size after a change of sign and without one (default [0.5, 1.2]). */
  etas?: readonly [number, number];
  /** Smallest and largest step size (default [1e-6, 50]). */
  stepSizes?: readonly [number, number];
}

export interface RpropGroup extends ForeachGroup {
  etas: [number, number];
  step_sizes: [number, number];
}

/** Resilient backpropagation (Riedmiller & Braun 1993), for full batches; lr 1e-2, the first step size, by default. */
export class Rprop extends ForeachOptimizer<RpropGroup> {
  constructor(params: Params, options: RpropOptions = {}) {
    const { lr = 1e-2, etas = [0.5, 1.2], stepSizes = [1e-6, 50] } = options;
    const { maximize = false, foreach = null } = options;
    if (!(0 < etas[0] && etas[0] < 1 && 1 < etas[1])) {
      throw new RangeError(`Rprop: invalid etas: ${etas.join(', ')}`);
    }
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      etas,
      step_sizes: stepSizes,
      foreach,
      maximize,
      differentiable: false,
      capturable: false,
    });
  }

  protected stateNames(): readonly string[] {
    return ['prev', 'step_size'];
  }

  protected override initialState(name: string, param: Tensor, { lr }: RpropGroup): Tensor {
    return name === 'prev' ? aten.zeros_like(param) : aten.full_like(param, lr);
  }

  protected stepWith(
    { etas: [shrink, grow], step_sizes: [least, most] }: RpropGroup,
    params: Tensor[],
    grads: Tensor[],
    { prev: previous = [], step_size: sizes = [] }: StateLists,
  ): void {
    const signs = aten._foreach_mul(grads, previous);
    const factors = signs.map((sign) => aten.where(sign.gt(0), grow, aten.where(sign.lt(0), shrink, 1)));
    // `where` of numbers gives float32, or int64.
    aten._foreach_mul_(
      sizes,
      factors.map((factor, i) => factor.to((sizes[i] as Tensor).dtype)),
    );
    aten._foreach_clamp_min_(sizes, least);
    aten._foreach_clamp_max_(sizes, most);
    // After a change of sign the step is left out.
    aten._foreach_copy_(previous, grads);
    for (const [i, sign] of signs.entries()) previous[i]?.masked_fill_(sign.lt(0), 0);
    aten._foreach_addcmul_(params, aten._foreach_sign(previous), sizes, -1);
  }
}
