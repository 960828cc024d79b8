import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import {
  type ForeachGroup,
  ForeachOptimizer,
  type ForeachOptions,
  inForeachOrder,
  type StateLists,
  scalar,
  updateMoments,
  valuesOf,
} from './foreach.js';
import type { Params } from './optimizer.js';

export interface NAdamOptions extends ForeachOptions {
  /** Decay of the averages of the gradient and of its square (default [0.9, 0.999]). */
  betas?: readonly [number, number];
  /** Added to the denominator (default 1e-8). */
  eps?: number;
  /** How fast the momentum rises to its full strength (default 4e-3). */
  momentumDecay?: number;
  /** Weight decay apart from the gradient, as in AdamW (default false). */
  decoupledWeightDecay?: boolean;
}

export interface NAdamGroup extends ForeachGroup {
  betas: [number, number];
  eps: number;
  momentum_decay: number;
  decoupled_weight_decay: boolean;
}

/** Adam with Nesterov momentum (Dozat, "Incorporating Nesterov Momentum into Adam", 2016); lr 2e-3 by default. */
export class NAdam extends ForeachOptimizer<NAdamGroup> {
  constructor(params: Params, options: NAdamOptions = {}) {
    const { lr = 2e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, momentumDecay = 4e-3 } = options;
    const { decoupledWeightDecay = false, maximize = false, foreach = null } = options;
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      betas,
      eps,
      weight_decay: weightDecay,
      momentum_decay: momentumDecay,
      decoupled_weight_decay: decoupledWeightDecay,
      maximize,
      foreach,
      capturable: false,
      differentiable: false,
    });
  }

  protected stateNames(): readonly string[] {
    return ['mu_product', 'exp_avg', 'exp_avg_sq'];
  }

  protected override initialState(name: string, param: Tensor, group: NAdamGroup): Tensor {
    return name === 'mu_product' ? scalar(1, this.scalarDevice(param, group)) : aten.zeros_like(param);
  }

  protected stepWith(
    group: NAdamGroup,
    params: Tensor[],
    grads: Tensor[],
    state: StateLists,
    counts: number[],
  ): void {
    const { lr, eps, betas, momentum_decay: decay } = group;
    const [beta1, beta2] = betas;
    const { mu_product: products = [], exp_avg: expAvgs = [], exp_avg_sq: expAvgSqs = [] } = state;
    updateMoments(betas, grads, expAvgs, expAvgSqs);

    const momentum = (count: number): number => beta1 * (1 - 0.5 * 0.96 ** (count * decay));
    const now = counts.map(momentum);
    const next = counts.map((count) => momentum(count + 1));
    aten._foreach_mul_(products, now);
    const sofar = valuesOf(products);

    const corrections = counts.map((count) => 1 - beta2 ** count);
    const denominators = inForeachOrder(group, params)
      ? rootThenDivide(expAvgSqs, corrections)
      : divideThenRoot(expAvgSqs, corrections);
    aten._foreach_add_(denominators, eps);
    const ofGrads = now.map((mu, i) => -((lr * (1 - mu)) / (1 - (sofar[i] as number))));
    const ofAverages = next.map((mu, i) => -((lr * mu) / (1 - (sofar[i] as number) * mu)));
    aten._foreach_addcdiv_(params, grads, denominators, ofGrads);
    aten._foreach_addcdiv_(params, expAvgs, denominators, ofAverages);
  }
}

function rootThenDivide(squares: Tensor[], corrections: number[]): Tensor[] {
  const roots = aten._foreach_sqrt(squares);
  aten._foreach_div_(roots, corrections.map(Math.sqrt));
  return roots;
}

function divideThenRoot(squares: Tensor[], corrections: number[]): Tensor[] {
  const corrected = aten._foreach_div(squares, corrections);
  aten._foreach_sqrt_(corrected);
  return corrected;
}
