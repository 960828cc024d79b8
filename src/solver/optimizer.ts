import type { Config } from '../config/index.js';
import { Registry } from '../registry.js';
import * as torch from '../torch/index.js';
import { addClipping, gradientClipper } from './clipping.js';
import { unflattenState } from './flat_state.js';
import { type GroupOptions, groupSettings, paramGroups } from './param_groups.js';

/** Builds an optimizer over groups that bring their own learning rate and weight decay. */
export type OptimizerBuilder = (groups: GroupOptions[], cfg: Config) => torch.optim.Optimizer;

/** Names that `SOLVER.OPT` may use. */
export const OPTIMIZER_REGISTRY = new Registry<OptimizerBuilder>('optimizer');

OPTIMIZER_REGISTRY.register(
  'Adam',
  (groups, cfg) => new torch.optim.Adam(groups, { lr: cfg.SOLVER.BASE_LR }),
);
OPTIMIZER_REGISTRY.register(
  'AdamW',
  (groups, cfg) => new torch.optim.AdamW(groups, { lr: cfg.SOLVER.BASE_LR }),
);
OPTIMIZER_REGISTRY.register('SGD', (groups, { SOLVER }) => {
  const { BASE_LR: lr, MOMENTUM: momentum, NESTEROV: nesterov } = SOLVER;
  return new torch.optim.SGD(groups, { lr, momentum, nesterov });
});

/**
 * The optimizer that `SOLVER` describes over the trainable parameters of `model`: learning rate factors of biases
 * and heads, weight decay of normalisation layers and biases, gradient clipping before each step. It loads the flat
 * states of FastReID's checkpoints as well as its own.
 */
export function buildOptimizer(cfg: Config, model: torch.nn.AnyModule): torch.optim.Optimizer {
  const groups = paramGroups(model, groupSettings(cfg));
  if (groups.length === 0) throw new Error('buildOptimizer: the model has no trainable parameters');
  const optimizer = OPTIMIZER_REGISTRY.get(cfg.SOLVER.OPT)(groups, cfg);
  const clip = gradientClipper(cfg);
  if (clip !== undefined) addClipping(optimizer, clip);
  const load = optimizer.loadStateDict.bind(optimizer);
  optimizer.loadStateDict = (state) => load(unflattenState(optimizer, state));
  return optimizer;
}
