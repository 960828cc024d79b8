import type { Config } from '../config/index.js';
import * as torch from '../torch/index.js';

type Optimizer = torch.optim.Optimizer;

/** Changes gradients in place, between backward and the optimizer's step. */
export type GradientClipper = (optimizer: Optimizer) => void;

/**
 * The clipper that `SOLVER.CLIP_GRADIENTS` describes, or undefined when it is off. Norms are those of each
 * parameter; with COMPAT `fastreid`, of each parameter group together.
 */
export function gradientClipper(cfg: Config): GradientClipper | undefined {
  const { ENABLED, CLIP_TYPE, CLIP_VALUE, NORM_TYPE: normType } = cfg.SOLVER.CLIP_GRADIENTS;
  if (!ENABLED) return undefined;
  const { clipEachGradNorm_, clipGradNorm_, clipGradValue_ } = torch.optim;
  if (CLIP_TYPE === 'value') return (optimizer) => clipGradValue_(parametersOf(optimizer), CLIP_VALUE);
  if (CLIP_TYPE !== 'norm') {
    throw new Error(`SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '${CLIP_TYPE}'; it must be 'norm' or 'value'`);
  }
  if (cfg.COMPAT !== 'fastreid') {
    return (optimizer) => clipEachGradNorm_(parametersOf(optimizer), CLIP_VALUE, { normType });
  }
  return (optimizer) => {
    for (const { params } of optimizer.paramGroups) clipGradNorm_(params, CLIP_VALUE, { normType });
  };
}

// All at once: on a GPU each list of gradients costs the launch of several kernels.
function parametersOf(optimizer: Optimizer): torch.Tensor[] {
  return optimizer.paramGroups.flatMap(({ params }) => params);
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
