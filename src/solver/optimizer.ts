import type { Config } from '../config/index.js';
import { Registry } from '../registry.js';
import * as torch from '../torch/index.js';
import { addClipping, gradientClipper } from './clipping.js';
import { unflattenState } from './flat_state.js';
import { addFreezing, asksForFreezing, Freezing, frozenParts } from './freezing.js';
import { Lamb } from './lamb.js';
import { type GroupOptions, groupSettings, paramGroups } from './param_groups.js';

/** Builds an optimizer over groups that bring their own learning rate and weight decay. */
export type OptimizerBuilder = (groups: GroupOptions[], cfg: Config) => torch.optim.Optimizer;

/** Names that `SOLVER.OPT` may use. */
export const OPTIMIZER_REGISTRY = new Registry<OptimizerBuilder>('optimizer');

const { Adadelta, Adafactor, Adagrad, Adam, Adamax, AdamW, ASGD, NAdam, RAdam, RMSprop, Rprop, SGD } =
  torch.optim;

// As in FastReID, no settings but SGD's can be chosen: rates and decays come with the groups.
for (const Class of [
  Adadelta,
  Adafactor,
  Adagrad,
  Adam,
  Adamax,
  AdamW,
  ASGD,
  Lamb,
  NAdam,
  RAdam,
  RMSprop,
  Rprop,
]) {
  OPTIMIZER_REGISTRY.register(Class.name, (groups, cfg) => new Class(groups, { lr: cfg.SOLVER.BASE_LR }));
}
OPTIMIZER_REGISTRY.register('SGD', (groups, { SOLVER }) => {
  const { BASE_LR: lr, MOMENTUM: momentum, NESTEROV: nesterov } = SOLVER;
  return new SGD(groups, { lr, momentum, nesterov });
});

/**
 * The optimizer that `SOLVER` describes over the trainable parameters of `model`: learning rate factors of biases
 * and heads, weight decay of normalisation layers and biases, gradient clipping before each step. While
 * `MODEL.FREEZE_LAYERS` are frozen, which is for the first `SOLVER.FREEZE_ITERS` steps, it leaves their parameters
 * alone; the modes of their modules are the `LayerFreeze` hook's business. It loads the flat states of FastReID's
 * checkpoints as well as its own.
 */
export function buildOptimizer(cfg: Config, model: torch.nn.AnyModule): torch.optim.Optimizer {
  const freezes = asksForFreezing(cfg)
    ? frozenParts(model, cfg.MODEL.FREEZE_LAYERS, cfg).freezes
    : (): boolean => false;
  const groups = paramGroups(model, { ...groupSettings(cfg), freezes });
  if (groups.length === 0) throw new Error('buildOptimizer: the model has no trainable parameters');
  const optimizer = OPTIMIZER_REGISTRY.get(cfg.SOLVER.OPT)(groups, cfg);
  const clip = gradientClipper(cfg);
  if (clip !== undefined) addClipping(optimizer, clip);
  if (asksForFreezing(cfg)) {
    const frozen = groups.filter(({ freeze_status: status }) => status === 'freeze');
    const parameters = frozen.flatMap(({ params }) => params.map(([, parameter]) => parameter));
    addFreezing(optimizer, new Freezing(parameters, cfg.SOLVER.FREEZE_ITERS));
  }
  const load = optimizer.loadStateDict.bind(optimizer);
  optimizer.loadStateDict = (state) => load(unflattenState(optimizer, state));
  return optimizer;
}
