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
  valuesOf,
} from './foreach.js';
import type { Params } from './optimizer.js';

export interface ASGDOptions extends ForeachOptions {
  /** Decay of the parameters and of the rate (default 1e-4). */
  lambd?: number;
  /** Power of the rate's decay (default 0.75). */
  alpha?: number;
  /** Step at which averaging begins (default 1e6). */
  t0?: number;
}

export interface ASGDGroup extends ForeachGroup {
  lambd: number;
  alpha: number;
  t0: number;
}

/** Averaged stochastic gradient descent (Polyak & Juditsky 1992); the averages are the state `ax`. */
export class ASGD extends ForeachOptimizer<ASGDGroup> {
  constructor(params: Params, options: ASGDOptions = {}) {
    const { lr = 1e-2, lambd = 1e-4, alpha = 0.75, t0 = 1e6, weightDecay = 0 } = options;
    const { foreach = null, maximize = false } = options;
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      lambd,
      alpha,
      t0,
      weight_decay: weightDecay,
      foreach,
      maximize,
      differentiable: false,
      capturable: false,
    });
  }

  protected stateNames(): readonly string[] {
    return ['eta', 'mu', 'ax'];
  }

  // The foreach step multiplies by them.
  protected override scalarDevice(param: Tensor): DeviceLike {
    return param.device;
  }

  protected override initialState(name: string, param: Tensor, { lr }: ASGDGroup): Tensor {
    return name === 'ax' ? aten.zeros_like(param) : scalar(name === 'eta' ? lr : 1, param.device);
  }

  protected stepWith(
    group: ASGDGroup,
    params: Tensor[],
    grads: Tensor[],
    { step: steps = [], eta: etas = [], mu: mus = [], ax: averages = [] }: StateLists,
    counts: number[],
  ): void {
    const { lr, lambd, alpha, t0 } = group;
    const base = lambd * lr;
    if (inForeachOrder(group, params)) {
      const directions = aten._foreach_add(grads, params, { alpha: lambd });
      aten._foreach_addcmul_(params, directions, etas, -1);
      aten._foreach_addcmul_(averages, aten._foreach_sub(params, averages), mus);
      const growth = aten._foreach_mul(steps, base);
      aten._foreach_add_(growth, 1);
      aten._foreach_pow_(growth, alpha);
      aten._foreach_reciprocal_(growth);
      aten._foreach_mul_(growth, lr);
      aten._foreach_copy_(etas, growth);
    } else {
      const rates = valuesOf(etas);
      aten._foreach_mul_(
        params,
        rates.map((rate) => 1 - lambd * rate),
      );
      for (const [i, param] of params.entries()) {
        param.add_(grads[i] as Tensor, { alpha: -(rates[i] as number) });
        average(averages[i] as Tensor, param, mus[i] as Tensor);
      }
      for (const [i, count] of counts.entries()) etas[i]?.fill_(lr / (1 + base * count) ** alpha);
    }
    for (const [i, count] of counts.entries()) mus[i]?.fill_(1 / Math.max(1, count - t0));
  }
}

function average(sofar: Tensor, param: Tensor, weight: Tensor): void {
  if (weight.item() === 1) sofar.copy_(param);
  else sofar.add_(param.sub(sofar).mul_(weight));
}
