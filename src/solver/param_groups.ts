import type { Config } from '../config/index.js';
import type * as torch from '../torch/index.js';
import { nn } from '../torch/index.js';

/** Parameters that share a learning rate and a weight decay; keys as in PyTorch's optimizers. */
export type GroupOptions = {
  /** With their state-dict names. */
  params: [string, torch.nn.Parameter][];
  lr: number;
  weight_decay: number;
  /** FastReID's mark of groups that `MODEL.FREEZE_LAYERS` names. */
  freeze_status: 'normal' | 'freeze';
};

/** What decides a parameter's learning rate and weight decay. */
export interface GroupSettings {
  baseLr: number;
  weightDecay: number;
  /** Weight decay of normalisation layers, except their biases. */
  weightDecayNorm: number;
  /** Weight decay of every parameter called `bias`. */
  weightDecayBias: number;
  biasLrFactor: number;
  /** Factor for the parameters below `heads`. */
  headsLrFactor: number;
}

/**
 * The trainable parameters of a model in groups of equal learning rate and weight decay, in the order in which the
 * first of each group comes in the model. FastReID makes the same groups, so optimizer states can be exchanged.
 */
export function paramGroups(model: torch.nn.AnyModule, settings: GroupSettings): GroupOptions[] {
  const groups = new Map<string, GroupOptions>();
  const seen = new Set<torch.nn.Parameter>();
  for (const [path, module] of model.namedModules()) {
    for (const [name, parameter] of module.ownParameters()) {
      if (!parameter.requiresGrad || seen.has(parameter)) continue;
      seen.add(parameter);
      const { lr, weightDecay } = options(path, module, name, settings);
      const key = `${lr} ${weightDecay}`;
      let group = groups.get(key);
      if (group === undefined) {
        group = { params: [], lr, weight_decay: weightDecay, freeze_status: 'normal' };
        groups.set(key, group);
      }
      group.params.push([path === '' ? name : `${path}.${name}`, parameter]);
    }
  }
  return [...groups.values()];
}

function options(path: string, module: torch.nn.AnyModule, name: string, settings: GroupSettings) {
  let lr = settings.baseLr;
  let weightDecay = module instanceof nn.BatchNorm ? settings.weightDecayNorm : settings.weightDecay;
  if (name === 'bias') {
    lr *= settings.biasLrFactor;
    weightDecay = settings.weightDecayBias;
  }
  if (path.split('.')[0] === 'heads') lr *= settings.headsLrFactor;
  return { lr, weightDecay };
}

/** The settings that `SOLVER` holds. */
export function groupSettings({ SOLVER }: Config): GroupSettings {
  return {
    baseLr: SOLVER.BASE_LR,
    weightDecay: SOLVER.WEIGHT_DECAY,
    weightDecayNorm: SOLVER.WEIGHT_DECAY_NORM,
    weightDecayBias: SOLVER.WEIGHT_DECAY_BIAS,
    biasLrFactor: SOLVER.BIAS_LR_FACTOR,
    headsLrFactor: SOLVER.HEADS_LR_FACTOR,
  };
}
