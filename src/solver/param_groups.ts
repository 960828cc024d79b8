import type { Config } from '../config/index.js';
import type * as torch from '../torch/index.js';
import { nn } from '../torch/index.js';

/** Parameters that share a learning rate and a weight decay; keys as in PyTorch's optimizers. */
export type GroupOptions = {
  /** With their state-dict names. */
  params: [string, torch.nn.Parameter][];
  lr: number;
  weight_decay: number;
  /** FastReID's mark of the parameters that `MODEL.FREEZE_LAYERS` names. */
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
  /** Factor for the parameters of heads. */
  headsLrFactor: number;
  /** Whether a child of the model is a head, by its name. Default: `heads`, and whatever ends in `_head`. */
  isHead?: (child: string) => boolean;
  /** Whether a parameter is frozen at first, by its dotted name. Default: none is. */
  freezes?: (parameter: string) => boolean;
}

/** Normalisation layers, whose weights have a decay of their own. */
const NORMS = [nn.BatchNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.LayerNorm];

/**
 * The trainable parameters of a model in groups of equal learning rate and weight decay, frozen ones apart, in the
 * order in which the first of each group comes in the model. FastReID makes the same groups, so optimizer states can
 * be exchanged.
 */
export function paramGroups(model: torch.nn.AnyModule, settings: GroupSettings): GroupOptions[] {
  const groups = new Map<string, GroupOptions>();
  const seen = new Set<torch.nn.Parameter>();
  for (const [path, module] of model.namedModules()) {
    for (const [name, parameter] of module.ownParameters()) {
      if (!parameter.requiresGrad || seen.has(parameter)) continue;
      seen.add(parameter);
      const { lr, weightDecay } = options(path, module, name, settings);
      const dotted = path === '' ? name : `${path}.${name}`;
      const status = settings.freezes?.(dotted) ? 'freeze' : 'normal';
      const key = `${status} ${lr} ${weightDecay}`;
      let group = groups.get(key);
      if (group === undefined) {
        group = { params: [], lr, weight_decay: weightDecay, freeze_status: status };
        groups.set(key, group);
      }
      group.params.push([dotted, parameter]);
    }
  }
  return [...groups.values()];
}

function options(path: string, module: torch.nn.AnyModule, name: string, settings: GroupSettings) {
  const { isHead = (child) => child === 'heads' || child.endsWith('_head') } = settings;
  let lr = settings.baseLr;
  const isNorm = NORMS.some((Norm) => module instanceof Norm);
  let weightDecay = isNorm ? settings.weightDecayNorm : settings.weightDecay;
  if (name === 'bias') {
    lr *= settings.biasLrFactor;
    weightDecay = settings.weightDecayBias;
  }
  if (isHead(path.split('.')[0])) lr *= settings.headsLrFactor;
  return { lr, weightDecay };
}

/** The settings that `SOLVER` holds. With COMPAT `fastreid` MGN's heads, which are not called `heads`, are none. */
export function groupSettings({ SOLVER, COMPAT }: Config): GroupSettings {
  return {
    ...(COMPAT === 'fastreid' && { isHead: (child) => child === 'heads' }),
    baseLr: SOLVER.BASE_LR,
    weightDecay: SOLVER.WEIGHT_DECAY,
    weightDecayNorm: SOLVER.WEIGHT_DECAY_NORM,
    weightDecayBias: SOLVER.WEIGHT_DECAY_BIAS,
    biasLrFactor: SOLVER.BIAS_LR_FACTOR,
    headsLrFactor: SOLVER.HEADS_LR_FACTOR,
  };
}
