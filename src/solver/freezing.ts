import type { Config } from '../config/index.js';
import * as torch from '../torch/index.js';

type Optimizer = torch.optim.Optimizer;

/** What `MODEL.FREEZE_LAYERS` means for one model. */
export interface FrozenParts {
  /** Whether a parameter, by its dotted name, is frozen. */
  freezes: (parameter: string) => boolean;
  /** Modules that are in evaluation mode while frozen, so that their running statistics stay as they are. */
  modules: readonly torch.nn.AnyModule[];
}

/**
 * Finds the layers of `MODEL.FREEZE_LAYERS`: paths of modules (`backbone`, `backbone.layer1`) or of parameters. A
 * name stands for everything below it, by whole components: `b1` is not `b1_head`.
 *
 * With COMPAT `fastreid` the names are regular expressions that parameters begin with, so that `b1` freezes
 * `b1_head` too; only children of the model whose name is exactly the given one are put into evaluation mode; and a
 * name that matches nothing is passed over.
 *
 * @throws when a name matches nothing, with those there are
 */
export function frozenParts(model: torch.nn.AnyModule, layers: readonly string[], cfg: Config): FrozenParts {
  if (cfg.COMPAT === 'fastreid') {
    const patterns = layers.map((layer) => new RegExp(`^(?:${layer})`));
    const children = [...model.namedChildren()].filter(([name]) => layers.includes(name));
    return {
      freezes: (parameter) => patterns.some((pattern) => pattern.test(parameter)),
      modules: children.map(([, child]) => child),
    };
  }
  const modules = new Map(model.namedModules());
  const parameters = new Set([...model.namedParameters()].map(([name]) => name));
  const found: torch.nn.AnyModule[] = [];
  for (const layer of layers) {
    const module = layer === '' ? undefined : modules.get(layer);
    if (module !== undefined) found.push(module);
    else if (!parameters.has(layer)) throw unknownLayer(layer, modules);
  }
  const within = (parameter: string): boolean =>
    layers.some((layer) => parameter === layer || parameter.startsWith(`${layer}.`));
  return { freezes: within, modules: found };
}

/** Says what there is where the name goes astray. */
function unknownLayer(layer: string, modules: ReadonlyMap<string, torch.nn.AnyModule>): Error {
  const parts = layer.split('.');
  let depth = 0;
  while (parts[depth] && modules.has(parts.slice(0, depth + 1).join('.'))) depth++;
  const known = parts.slice(0, depth).join('.');
  const children = [...(modules.get(known) as torch.nn.AnyModule).namedChildren()];
  const choice = children.map(([name]) => (known === '' ? name : `${known}.${name}`)).join(', ');
  return new Error(
    `MODEL.FREEZE_LAYERS names '${layer}', which is no part of the model. Choose from: ${choice || 'none'}` +
      (known === '' ? ', or a path below one of them' : ''),
  );
}

/** Whether the configuration asks for frozen layers at all. */
export function asksForFreezing({ MODEL, SOLVER }: Config): boolean {
  return MODEL.FREEZE_LAYERS.length > 0 && SOLVER.FREEZE_ITERS > 0;
}

/** How long the frozen parameters of an optimizer stay so. */
export class Freezing {
  readonly iterations: number;
  readonly parameters: ReadonlySet<torch.Tensor>;
  /** Steps done. Whoever knows better, having resumed a run, says so here. */
  done = 0;

  constructor(parameters: Iterable<torch.Tensor>, iterations: number) {
    this.parameters = new Set(parameters);
    this.iterations = iterations;
  }

  get active(): boolean {
    return this.done < this.iterations;
  }
}

const FREEZINGS = new WeakMap<Optimizer, Freezing>();

/** The freezing that `buildOptimizer` gave an optimizer, if it did. */
export function freezingOf(optimizer: Optimizer): Freezing | undefined {
  return FREEZINGS.get(optimizer);
}

/** Makes `optimizer.step` leave the frozen parameters alone, clipping included, while the freezing is active. */
export function addFreezing(optimizer: Optimizer, freezing: Freezing): void {
  FREEZINGS.set(optimizer, freezing);
  const step = optimizer.step.bind(optimizer);
  optimizer.step = ((closure?: () => unknown): unknown => {
    const result = closure === undefined ? undefined : torch.enableGrad(closure);
    if (!freezing.active) {
      step();
      return result;
    }
    const hidden: [torch.Tensor, torch.Tensor][] = [];
    for (const parameter of freezing.parameters) {
      const { grad } = parameter;
      if (grad === null) continue;
      hidden.push([parameter, grad]);
      parameter.grad = null;
    }
    try {
      step();
    } finally {
      for (const [parameter, grad] of hidden) parameter.grad = grad;
    }
    freezing.done++;
    return result;
  }) as Optimizer['step'];
}
