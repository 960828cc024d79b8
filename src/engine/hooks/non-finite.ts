import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import * as torch from '../../torch/index.js';
import { ofThisRank } from '../parallel.js';
import { HookBase } from '../train-loop.js';

export interface NonFiniteDetectorOptions {
  model: torch.nn.AnyModule;
  /**
   * Folder for the batch that did it, `nonfinite_iter_0000123.safetensors`, of several processes
   * `….rank1.safetensors` and so on; without one it is not saved.
   */
  folder?: string;
}

/** Something became infinite or undefined; the message names the first module. */
export class NonFiniteError extends Error {
  override readonly name = 'NonFiniteError';
  /** Dotted name of the module. */
  readonly module: string;

  constructor(module: string, message: string) {
    super(message);
    this.module = module;
  }
}

interface Check {
  path: string;
  what: 'input' | 'output' | 'gradient';
  /** Whether all was finite: bool `[]`, read later. */
  finite: torch.Tensor;
}

/**
 * Finds where numbers become infinite or undefined (NaN). All inputs and outputs of all modules, and the gradients of
 * the outputs, are looked at on the device in each step, and the verdicts read twice a step: after forward and after
 * backward. What is found stops the training with a {@link NonFiniteError} that names the first module, before the
 * weights are touched, and the batch is saved.
 *
 * In mixed precision with float16, gradients that leave its range because the loss is scaled are part of the game: the
 * GradScaler skips such a step and scales less. They stop the training where a scale of 1 or less leaves them so.
 *
 * It costs a pass over everything that modules give, so it is for a training that fails, not for every one.
 */
export class NonFiniteDetector extends HookBase {
  readonly #options: NonFiniteDetectorOptions;
  #handles: torch.HookHandle[] = [];
  #checks: Check[] = [];
  #batch: readonly unknown[] = [];

  constructor(options: NonFiniteDetectorOptions) {
    super();
    this.#options = options;
  }

  override beforeTrain(): void {
    const { model } = this.#options;
    for (const [name, module] of model.namedModules()) {
      const path = name || '(model)';
      this.#handles.push(
        module.registerForwardPreHook((each, args) => {
          if (each === model) this.#batch = args;
          if (model.training) this.#look(path, 'input', args);
        }),
        module.registerForwardHook((each, _args, output) => {
          if (!model.training) return;
          const outputs = this.#look(path, 'output', output);
          this.#lookAtGradients(path, outputs);
          if (each === model) this.#judge();
        }),
      );
    }
  }

  override afterBackward(): void {
    this.#judge();
    this.#batch = [];
  }

  override afterTrain(): void {
    for (const handle of this.#handles) handle.remove();
    this.#handles = [];
    this.#batch = [];
    this.#clear();
  }

  #look(path: string, what: Check['what'], value: unknown): torch.Tensor[] {
    const tensors = tensorsIn(value).filter((tensor) => tensor.dtype.isFloatingPoint);
    if (tensors.length > 0) this.#checks.push({ path, what, finite: allFinite(tensors) });
    return tensors;
  }

  #lookAtGradients(path: string, outputs: readonly torch.Tensor[]): void {
    for (const output of outputs) {
      if (!output.requiresGrad) continue;
      output.registerHook((grad) => {
        this.#checks.push({ path, what: 'gradient', finite: allFinite([grad]) });
      });
    }
  }

  /** Reads what was found since the last time. */
  #judge(): void {
    if (this.#checks.length === 0) return;
    const verdicts = torch.scope(() =>
      torch.stack(this.#checks.map(({ finite }) => finite)).tolist(),
    ) as boolean[];
    const excused = verdicts.includes(false) && this.trainer.lossScale > 1;
    const bad = this.#checks.find(({ what }, i) => !verdicts[i] && !(excused && what === 'gradient'));
    this.#clear();
    if (bad === undefined) return;
    const { iter } = this.trainer;
    const file = this.#save(bad);
    const saved = file === undefined ? '' : `; the batch is in ${file}`;
    throw new NonFiniteError(
      bad.path,
      `iteration ${iter}: ${sentence(bad)}${saved}. The weights are as before this step.`,
    );
  }

  #save({ path, what }: Check): string | undefined {
    const { folder } = this.#options;
    if (folder === undefined) return undefined;
    const tensors = new Map(this.#batch.flatMap((arg, i) => namedTensors(arg, String(i))));
    const { iter } = this.trainer;
    const file = join(folder, `${ofThisRank(`nonfinite_iter_${String(iter).padStart(7, '0')}`)}.safetensors`);
    mkdirSync(folder, { recursive: true });
    torch.saveSafetensors(tensors, file, { iteration: String(iter), module: path, what });
    return file;
  }

  #clear(): void {
    for (const { finite } of this.#checks) finite.dispose();
    this.#checks = [];
  }
}

function sentence({ path, what }: Check): string {
  if (what === 'output') return `the output of ${path} is the first that is not finite; its input was`;
  if (what === 'gradient')
    return `the gradient that came back to the output of ${path} is the first that is not finite`;
  return `the input of ${path} is the first that is not finite: it comes from an operator between modules, or from the batch`;
}

function allFinite(tensors: readonly torch.Tensor[]): torch.Tensor {
  return torch.scope(() =>
    torch.noGrad(() =>
      torch
        .stack(tensors.map((tensor) => tensor.detach().isfinite().all()))
        .all()
        .keep(),
    ),
  );
}

/** Tensors in a value, an array or an object of them. */
function tensorsIn(value: unknown): torch.Tensor[] {
  return namedTensors(value, '').map(([, tensor]) => tensor);
}

function namedTensors(value: unknown, name: string): [string, torch.Tensor][] {
  if (value instanceof torch.Tensor) return [[name, value]];
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return [];
  return Object.entries(value).filter(
    (entry): entry is [string, torch.Tensor] => entry[1] instanceof torch.Tensor,
  );
}
