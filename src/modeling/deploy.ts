import type * as torch from '../torch/index.js';

/** A module that has a form with the same outputs in evaluation, but fewer layers, which can no longer be trained. */
export interface Deployable {
  /** Takes that form, in place. */
  deploy(): void;
}

function isDeployable(module: object): module is Deployable {
  return 'deploy' in module && typeof module.deploy === 'function';
}

/**
 * Brings every module of `model` that has one to its deploy form (the backbone of RepVGG) and the model to evaluation
 * mode. Features stay the same but for rounding; optimizers and training checkpoints no longer fit. Returns the model.
 */
export function deploy<M extends torch.nn.AnyModule>(model: M): M {
  for (const module of [...model.modules()]) if (isDeployable(module)) module.deploy();
  model.eval();
  return model;
}
