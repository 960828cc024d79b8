import * as torch from '../../torch/index.js';
import { HookBase } from '../train-loop.js';

export interface ParameterHealthOptions {
  model: torch.nn.AnyModule;
  /** Every how many iterations. Default 100. */
  every?: number;
  /** How many parts of a parameter's name make its group: 2 joins all of `backbone.layer4`. Default 2. */
  depth?: number;
}

/** A single large gradient can spoil a training; a pace is an average. */
const SHOWN = { grad_norm: 'max', update_ratio: 'mean' } as const;

interface Group {
  name: string;
  parameters: torch.Tensor[];
}

/**
 * Whether the weights learn at a healthy pace, by group of layers: `health/grad_norm/<group>`, the L2 norm of the
 * gradients as the optimizer is about to see them, and `health/update_ratio/<group>`, the L2 norm of what a step
 * changes over that of the weights. A ratio about 1e-3 is usual; far above, the rate is too high, far below, the
 * layers stand still. Of the norms writers show the largest, of the ratios the mean, since they last wrote.
 *
 * At such an iteration the trained weights are copied once; the numbers are read in one go.
 */
export class ParameterHealth extends HookBase {
  readonly #every: number;
  readonly #depth: number;
  readonly #model: torch.nn.AnyModule;
  #before: { group: Group; copies: torch.Tensor[] }[] | undefined;

  constructor({ model, every = 100, depth = 2 }: ParameterHealthOptions) {
    super();
    if (!(Number.isInteger(every) && every > 0))
      throw new RangeError(`ParameterHealth: every is ${every}; 1 or more`);
    if (!(Number.isInteger(depth) && depth > 0))
      throw new RangeError(`ParameterHealth: depth is ${depth}; 1 or more`);
    this.#model = model;
    this.#every = every;
    this.#depth = depth;
  }

  override afterBackward(): void {
    if (this.trainer.iter % this.#every !== 0) return;
    const groups = this.#groups();
    this.#put('grad_norm', groups, () =>
      groups.map(({ parameters }) => normOf(torch.autograd.gradsOf(parameters))),
    );
    this.#before = groups.map((group) => ({
      group,
      copies: group.parameters.map((parameter) => torch.noGrad(() => parameter.detach().clone().keep())),
    }));
  }

  override afterStep(): void {
    const before = this.#before;
    if (!before) return;
    this.#put(
      'update_ratio',
      before.map(({ group }) => group),
      () =>
        before.map(({ group, copies }) => {
          const changes = group.parameters.map((parameter, i) => parameter.detach().sub(copies[i]));
          return normOf(changes).div(normOf(copies));
        }),
    );
    this.#release();
  }

  override afterTrain(): void {
    this.#release();
  }

  /** Parameters that have a gradient, by group. */
  #groups(): Group[] {
    const groups = new Map<string, Group>();
    const all = [...this.#model.namedParameters()];
    const grads = torch.autograd.gradsOf(all.map(([, parameter]) => parameter));
    all.forEach(([path, parameter], i) => {
      if (grads[i] === null) return;
      const parts = path.split('.');
      const name = parts.slice(0, Math.min(this.#depth, parts.length - 1) || 1).join('.');
      const group = groups.get(name) ?? { name, parameters: [] };
      groups.set(name, group);
      group.parameters.push(parameter);
    });
    return [...groups.values()];
  }

  #put(what: keyof typeof SHOWN, groups: readonly Group[], values: () => torch.Tensor[]): void {
    if (groups.length === 0) return;
    const numbers = torch.scope(() => torch.noGrad(() => torch.stack(values()).tolist())) as number[];
    groups.forEach(({ name }, i) => {
      this.trainer.storage.putScalar(`health/${what}/${name}`, numbers[i], { smoothing: SHOWN[what] });
    });
  }

  #release(): void {
    for (const { copies } of this.#before ?? []) for (const copy of copies) copy.dispose();
    this.#before = undefined;
  }
}

/** L2 norm of several tensors together: float32, or wider as they are, `[]`. */
function normOf(tensors: readonly (torch.Tensor | null)[]): torch.Tensor {
  const norms = tensors.flatMap((tensor) => (tensor === null ? [] : [torch.nn.reduce(tensor, 'norm')]));
  try {
    return torch.stack(norms).linalg_vector_norm();
  } finally {
    for (const norm of norms) norm.dispose();
  }
}
