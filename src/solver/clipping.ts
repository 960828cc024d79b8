import type { Config } from '../config/index.js';
import * as torch from '../torch/index.js';

type Tensor = torch.Tensor;
type Optimizer = torch.optim.Optimizer;

/** Changes gradients in place, between backward and the optimizer's step. */
export type GradientClipper = (optimizer: Optimizer) => void;

/** Cuts every gradient's elements to [−limit, limit]. */
export function clipByValue(grads: Tensor[], limit: number): void {
  torch._foreach_clamp_min_(grads, -limit);
  torch._foreach_clamp_max_(grads, limit);
}

/** Scales every gradient down to a norm of at most `limit`, each by itself. */
export function clipEachByNorm(grads: Tensor[], limit: number, order: number): void {
  const factors = torch._foreach_norm(grads, order);
  torch._foreach_add_(factors, 1e-6);
  torch._foreach_reciprocal_(factors);
  torch._foreach_mul_(factors, limit);
  torch._foreach_clamp_max_(factors, 1);
  grads.forEach((grad, i) => {
    grad.mul_(factors[i]);
  });
}

/** Scales gradients down, all by one factor, until the norm of them all together is at most `limit`. */
export function clipTogetherByNorm(grads: Tensor[], limit: number, order: number): void {
  const norms = torch.stack(torch._foreach_norm(grads, order));
  const factor = torch.linalg_vector_norm(norms, order).add(1e-6).reciprocal().mul(limit).clamp_max(1);
  torch._foreach_mul_(grads, factor);
}

/**
 * The clipper that `SOLVER.CLIP_GRADIENTS` describes, or undefined when it is off. Norms are those of each
 * parameter; with COMPAT `fastreid`, of each parameter group together.
 */
export function gradientClipper(cfg: Config): GradientClipper | undefined {
  const { ENABLED, CLIP_TYPE, CLIP_VALUE, NORM_TYPE } = cfg.SOLVER.CLIP_GRADIENTS;
  if (!ENABLED) return undefined;
  if (CLIP_TYPE === 'value') return eachGroup((grads) => clipByValue(grads, CLIP_VALUE));
  if (CLIP_TYPE !== 'norm') {
    throw new Error(`SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '${CLIP_TYPE}'; it must be 'norm' or 'value'`);
  }
  const clip = cfg.COMPAT === 'fastreid' ? clipTogetherByNorm : clipEachByNorm;
  return eachGroup((grads) => clip(grads, CLIP_VALUE, NORM_TYPE));
}

function eachGroup(clip: (grads: Tensor[]) => void): GradientClipper {
  return (optimizer) =>
    torch.noGrad(() =>
      torch.scope(() => {
        for (const { params } of optimizer.paramGroups) {
          const grads = params.map((p) => p.grad).filter((grad) => grad !== null);
          if (grads.length > 0) clip(grads);
        }
      }),
    );
}

/** Makes `optimizer.step` clip the gradients first. */
export function addClipping(optimizer: Optimizer, clip: GradientClipper): void {
  const step = optimizer.step.bind(optimizer);
  optimizer.step = ((closure?: () => unknown): unknown => {
    const result = closure === undefined ? undefined : torch.enableGrad(closure);
    clip(optimizer);
    step();
    return result;
  }) as Optimizer['step'];
}
