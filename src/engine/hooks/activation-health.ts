import * as torch from '../../torch/index.js';
import { HookBase } from '../train-loop.js';

export interface ActivationHealthOptions {
  model: torch.nn.AnyModule;
  /** Modules by name or pattern, as in `torch.nn.Capture`: those that end with an activation, such as blocks. */
  layers: string | readonly string[];
  /** Every how many iterations. Default 100. */
  every?: number;
}

/**
 * What layers give, at every so many iterations: `health/mean/<layer>` and `health/std/<layer>` of all values, and
 * `health/dead/<layer>`, the share of units that gave nothing above 0 for any image or place of the batch. A unit is a
 * channel; see `torch.nn.Reduction`. Units of a rectifier that are dead batch after batch learn no more. Writers show the
 * means over the batches looked at since they last wrote.
 */
export class ActivationHealth extends HookBase {
  readonly #every: number;
  readonly #modules: (readonly [string, torch.nn.AnyModule])[];
  #handles: torch.HookHandle[] = [];
  #seen: { layer: string; facts: torch.Tensor }[] = [];

  /** @throws where a pattern matches no module */
  constructor({ model, layers, every = 100 }: ActivationHealthOptions) {
    super();
    if (!(Number.isInteger(every) && every > 0))
      throw new RangeError(`ActivationHealth: every is ${every}; 1 or more`);
    this.#every = every;
    const names = new torch.nn.Capture(model, { layers }).layers;
    this.#modules = names.map((name) => [name, model.getModule(name)] as const);
  }

  override beforeStep(): void {
    if (this.trainer.iter % this.#every !== 0) return;
    for (const [layer, module] of this.#modules) {
      const hook = module.registerForwardHook((_module, _args, output) => {
        if (output instanceof torch.Tensor) this.#seen.push({ layer, facts: factsOf(output) });
      });
      this.#handles.push(hook);
    }
  }

  override afterBackward(): void {
    if (this.#seen.length > 0) {
      const rows = torch.scope(() =>
        torch.stack(this.#seen.map(({ facts }) => facts)).tolist(),
      ) as number[][];
      this.#seen.forEach(({ layer }, i) => {
        const [mean, std, dead] = rows[i];
        const put = (what: string, value: number): void =>
          this.trainer.storage.putScalar(`health/${what}/${layer}`, value, { smoothing: 'mean' });
        put('mean', mean);
        put('std', std);
        put('dead', dead);
      });
    }
    this.#release();
  }

  override afterTrain(): void {
    this.#release();
  }

  #release(): void {
    for (const handle of this.#handles) handle.remove();
    for (const { facts } of this.#seen) facts.dispose();
    this.#handles = [];
    this.#seen = [];
  }
}

/** Mean, standard deviation, share of dead units: float32 `[3]`. */
function factsOf(output: torch.Tensor): torch.Tensor {
  return torch.scope(() =>
    torch.noGrad(() => {
      const x = output.detach().to(torch.float32);
      const rank = x.shape.length;
      const channel = rank >= 4 ? 1 : rank - 1;
      const others = x.shape.map((_, i) => i).filter((i) => i !== channel);
      const highest = others.length > 0 ? x.amax(others) : x;
      return torch
        .stack([x.mean(), x.std(null, { correction: 0 }), highest.le(0).to(torch.float32).mean()])
        .keep();
    }),
  );
}
