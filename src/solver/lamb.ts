import * as torch from '../torch/index.js';

type Tensor = torch.Tensor;

export interface LambOptions {
  /** Learning rate (default 1e-3). */
  lr?: number;
  /** Decay of the averages of the gradient and of its square (default [0.9, 0.999]). */
  betas?: readonly [number, number];
  /** Added to the denominator (default 1e-6). */
  eps?: number;
  /** Added to the update, times the parameter (default 0). */
  weightDecay?: number;
}

export interface LambGroup extends torch.optim.ParamGroup {
  betas: [number, number];
  eps: number;
}

/** Norm of a parameter above which its steps grow no further. */
const LARGEST_NORM = 10;

const STATE = ['step', 'exp_avg', 'exp_avg_sq'];

/**
 * LAMB (You et al., "Large Batch Optimization for Deep Learning", arXiv 1904.00962v3, without bias correction): Adam
 * whose step of each parameter is scaled by the ratio of the parameter's norm, at most 10, to the step's.
 */
export class Lamb extends torch.optim.Optimizer<LambGroup> {
  constructor(params: torch.optim.Params, options: LambOptions = {}) {
    const { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-6, weightDecay = 0 } = options;
    const inRange = (value: number, below = Number.POSITIVE_INFINITY): boolean => value >= 0 && value < below;
    const right = inRange(lr) && inRange(eps) && inRange(weightDecay) && betas.every((b) => inRange(b, 1));
    if (!right) {
      const given = `lr ${lr}, betas [${betas.join(', ')}], eps ${eps}, weightDecay ${weightDecay}`;
      throw new RangeError(`Lamb: options must not be negative, and betas be below 1; got ${given}`);
    }
    super(params, { lr, betas, eps, weight_decay: weightDecay });
  }

  protected get hyperKeys(): readonly string[] {
    return ['lr', 'betas', 'eps', 'weight_decay'];
  }

  protected update(
    { lr, betas, eps, weight_decay: decay }: LambGroup,
    params: Tensor[],
    grads: Tensor[],
    bucket: torch.optim.Bucket<LambGroup> | null,
  ): void {
    const [steps, expAvgs, expAvgSqs] = this.stateLists(STATE, params, bucket, (name, param) =>
      name === 'step' ? torch.zeros([]) : torch.zeros_like(param),
    );
    const [beta1, beta2] = betas;
    torch._foreach_add_(steps, 1);
    torch._foreach_mul_(expAvgs, beta1);
    torch._foreach_add_(expAvgs, grads, { alpha: 1 - beta1 });
    torch._foreach_mul_(expAvgSqs, beta2);
    torch._foreach_addcmul_(expAvgSqs, grads, grads, 1 - beta2);
    const denominators = torch._foreach_sqrt(expAvgSqs);
    torch._foreach_add_(denominators, eps);
    const updates = torch._foreach_div(expAvgs, denominators);
    if (decay !== 0) torch._foreach_add_(updates, params, { alpha: decay });
    const ratios = trustRatios(params, updates);
    torch._foreach_mul_(
      updates,
      ratios.map((ratio) => -lr * ratio),
    );
    torch._foreach_add_(params, updates);
  }

  /** Also takes over FastReID's states, leaving out the norms of the last step that those have besides. */
  override loadStateDict(state: unknown): void {
    super.loadStateDict(state);
    for (const entry of this.state.values()) {
      for (const name of Object.keys(entry)) if (!STATE.includes(name)) delete entry[name];
    }
  }
}

/** Norm of each parameter over that of its update; 1 where either is zero. */
function trustRatios(params: Tensor[], updates: Tensor[]): number[] {
  // One wait for the device for both.
  const norms = torch.stack([...torch._foreach_norm(params), ...torch._foreach_norm(updates)]);
  const values = norms.float().cpu().toTypedArray() as Float32Array;
  return params.map((_, i) => {
    const weight = Math.min(values[i], LARGEST_NORM);
    const update = values[params.length + i];
    return weight === 0 || update === 0 ? 1 : weight / update;
  });
}
