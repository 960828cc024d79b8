import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import {
  type ForeachGroup,
  ForeachOptimizer,
  type ForeachOptions,
  inForeachOrder,
  type StateLists,
  updateMoments,
} from './foreach.js';
import type { Params } from './optimizer.js';

export interface RAdamOptions extends ForeachOptions {
  /** Decay of the averages of the gradient and of its square (default [0.9, 0.999]). */
  betas?: readonly [number, number];
  /** Added to the denominator (default 1e-8). */
  eps?: number;
  /** Weight decay apart from the gradient, as in AdamW (default false). */
  decoupledWeightDecay?: boolean;
}

export interface RAdamGroup extends ForeachGroup {
  betas: [number, number];
  eps: number;
  decoupled_weight_decay: boolean;
}

/**
 * Rectified Adam (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020): plain momentum
 * until the second moment is known well enough, then Adam, scaled by how well.
 */
export class RAdam extends ForeachOptimizer<RAdamGroup> {
  constructor(params: Params, options: RAdamOptions = {}) {
    const { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0 } = options;
    const { decoupledWeightDecay = false, maximize = false, foreach = null } = options;
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      betas,
      eps,
      weight_decay: weightDecay,
      maximize,
      foreach,
      capturable: false,
      decoupled_weight_decay: decoupledWeightDecay,
      differentiable: false,
    });
  }

  protected stateNames(): readonly string[] {
    return ['exp_avg', 'exp_avg_sq'];
  }

  protected stepWith(
    group: RAdamGroup,
    params: Tensor[],
    grads: Tensor[],
    state: StateLists,
    counts: number[],
  ): void {
    const { exp_avg: expAvgs = [], exp_avg_sq: expAvgSqs = [] } = state;
    updateMoments(group.betas, grads, expAvgs, expAvgSqs);
    const step = inForeachOrder(group, params) ? stepTogether : stepApart;
    step(group, params, expAvgs, expAvgSqs, counts);
  }
}

/** Factor of the adaptive step; 0 while the second moment is not to be trusted. */
function rectification(beta2: number, count: number): number {
  const longest = 2 / (1 - beta2) - 1;
  const decayed = beta2 ** count;
  const length = longest - (2 * count * decayed) / (1 - decayed);
  if (length <= 5) return 0;
  return Math.sqrt(((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length));
}

/** One update for all, whose two terms are zero in turn: PyTorch's foreach implementation. */
function stepTogether(
  { lr, eps, betas: [beta1, beta2] }: RAdamGroup,
  params: Tensor[],
  expAvgs: Tensor[],
  expAvgSqs: Tensor[],
  counts: number[],
): void {
  const factors = counts.map((count) => rectification(beta2, count));
  const bias = counts.map((count) => 1 - beta1 ** count);
  const plain = factors.map((factor, i) => (factor > 0 ? 0 : -(lr / (bias[i] as number))));
  const adaptive = factors.map(
    (factor, i) => -(Math.sqrt(1 - beta2 ** (counts[i] as number)) * ((lr * factor) / (bias[i] as number))),
  );
  const buffer = aten._foreach_sqrt(expAvgSqs);
  aten._foreach_add_(buffer, eps);
  aten._foreach_div_(buffer, adaptive);
  aten._foreach_reciprocal_(buffer);
  aten._foreach_add_(buffer, plain);
  aten._foreach_addcmul_(params, expAvgs, buffer);
}

/** The order of operations of PyTorch's implementation for single tensors. */
function stepApart(
  { lr, eps, betas: [beta1, beta2] }: RAdamGroup,
  params: Tensor[],
  expAvgs: Tensor[],
  expAvgSqs: Tensor[],
  counts: number[],
): void {
  const updates = aten._foreach_div(
    expAvgs,
    counts.map((count) => 1 - beta1 ** count),
  );
  aten._foreach_mul_(updates, lr);
  const factors = counts.map((count) => rectification(beta2, count));
  const rectified = <T>(all: readonly T[]): T[] => all.filter((_, i) => (factors[i] as number) > 0);
  const some = rectified(updates);
  if (some.length > 0) {
    const rates = aten._foreach_sqrt(rectified(expAvgSqs));
    aten._foreach_add_(rates, eps);
    aten._foreach_reciprocal_(rates);
    aten._foreach_mul_(
      rates,
      rectified(counts).map((count) => Math.sqrt(1 - beta2 ** count)),
    );
    aten._foreach_mul_(some, rates);
    aten._foreach_mul_(some, rectified(factors));
  }
  aten._foreach_add_(params, updates, { alpha: -1 });
}
