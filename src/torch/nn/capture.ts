// Looking at what flows through a model, without a change to it: hooks by pattern, values reduced on the device.

import { identityNode, isGradEnabled } from '../autograd.js';
import { type HookHandle, Tensor } from '../tensor.js';
import type { AnyModule } from './module.js';
import { REDUCTIONS, type Reduction, reduce } from './reduce.js';

/** What is looked at: arguments and results of a module, their gradients, and the gradients of its parameters. */
export type CaptureKind = 'input' | 'output' | 'gradInput' | 'gradOutput' | 'gradParameters';

export const CAPTURE_KINDS: readonly CaptureKind[] = [
  'input',
  'output',
  'gradInput',
  'gradOutput',
  'gradParameters',
];

export interface CaptureOptions {
  /**
   * Which modules: dotted names, or patterns as `Module.find` reads them (`backbone.layer4.*`, `**.conv2`). `''` is
   * the model itself.
   */
  layers: string | readonly string[];
  /** Default: `output`. */
  what?: CaptureKind | readonly CaptureKind[];
  /** What is kept of each tensor. Default: `full`. */
  reduce?: Reduction | readonly Reduction[];
}

/** One value that was seen. */
export interface Captured {
  /** Dotted name of the module. */
  layer: string;
  what: CaptureKind;
  /** Place among the arguments or results (`0`), key of a result that is an object, or name of a parameter. */
  part: string;
  /** Which call of the module since `attach`, from 0; for parameters, which backward. */
  call: number;
  reduction: Reduction;
  /** Detached, on the device it was computed on; kept, so that whoever takes it may dispose of it. */
  value: Tensor;
}

/** `backbone.layer4/output/mean`; the place where it is not the first (`output.1`), the call likewise (`#1`). */
export function captureName({ layer, what, part, call, reduction }: Captured): string {
  const place = part === '0' ? '' : `.${part}`;
  return `${layer || '(model)'}/${what}${place}${call > 0 ? `#${call}` : ''}/${reduction}`;
}

/**
 * Sees inputs, outputs and gradients of modules chosen by name.
 *
 * ```ts
 * using capture = new nn.Capture(model, { layers: 'backbone.layer4', what: ['output', 'gradOutput'], reduce: 'mean' });
 * capture.attach();
 * model.call(images).sum().backward();
 * for (const seen of capture.take()) console.log(nn.captureName(seen), seen.value.item());
 * ```
 *
 * Values are as they were at that moment: an operator that later changes a tensor in place does not change what was
 * captured. `gradOutput` is what `registerFullBackwardHook` calls so, and what `registerHook` of the output sees;
 * unlike a backward hook it lets an in-place activation follow. `gradInput` is the part of the gradient that came
 * through this module alone, as in a full backward hook; for a module that works in place (`inplace`), for which a
 * full backward hook is an error, it is the whole gradient of its input. Tensors that need no gradient have none.
 *
 * While it is not attached, the model has no hooks of it and costs nothing.
 */
export class Capture implements Disposable {
  readonly #modules: readonly (readonly [string, AnyModule])[];
  readonly #what: ReadonlySet<CaptureKind>;
  readonly #reductions: readonly Reduction[];
  #handles: HookHandle[] = [];
  #seen: Captured[] = [];
  /** Number of the present attachment: hooks left in a graph of an earlier one are silent. */
  #session = 0;

  /** @throws where a pattern matches no module, or a kind or reduction does not exist */
  constructor(model: AnyModule, options: CaptureOptions) {
    const patterns = listOf(options.layers);
    const found = new Map(patterns.flatMap((pattern) => modulesOf(model, pattern)));
    this.#modules = [...found];
    this.#what = new Set(listOf(options.what ?? 'output'));
    this.#reductions = listOf(options.reduce ?? 'full');
    check('what', this.#what, CAPTURE_KINDS);
    check('reduce', this.#reductions, REDUCTIONS);
    if (found.size === 0) throw new Error('capture: no layers were named');
  }

  /** Names of the modules that are looked at. */
  get layers(): string[] {
    return this.#modules.map(([name]) => name);
  }

  get attached(): boolean {
    return this.#handles.length > 0;
  }

  /** Registers the hooks, unless they are. Calls are counted from 0 again. */
  attach(): void {
    if (this.attached) return;
    this.#session++;
    for (const [name, module] of this.#modules) this.#attach(name, module);
  }

  /** Takes the hooks off. What was captured stays to be taken. */
  detach(): void {
    this.#session++;
    for (const handle of this.#handles) handle.remove();
    this.#handles = [];
  }

  /** What was seen since the last time, in the order in which it happened. It is the caller's from here. */
  take(): Captured[] {
    const seen = this.#seen;
    this.#seen = [];
    return seen;
  }

  /** Takes the hooks off and releases what was not taken. */
  [Symbol.dispose](): void {
    this.detach();
    for (const { value } of this.take()) value.dispose();
  }

  #attach(layer: string, module: AnyModule): void {
    const what = this.#what;
    // A module may call itself, or be called within its own backward hook: each call has its own number.
    const calls: number[] = [];
    let count = 0;
    if (what.has('input') || what.has('gradInput')) {
      const hook = module.registerForwardPreHook((_module, args) => {
        calls.push(count++);
        return this.#onInputs(layer, module, args as unknown[], calls.at(-1)!);
      });
      this.#handles.push(hook);
    }
    if (what.has('output') || what.has('gradOutput')) {
      const hook = module.registerForwardHook((_module, _args, output) => {
        this.#onOutput(layer, output, calls.pop() ?? count++);
      });
      this.#handles.push(hook);
    }
    if (what.has('gradParameters')) {
      for (const [name, parameter] of module.namedParameters()) {
        if (!parameter.requiresGrad) continue;
        let call = 0;
        this.#handles.push(
          parameter.registerHook((grad) => this.#record(layer, 'gradParameters', name, call++, grad)),
        );
      }
    }
  }

  #onInputs(layer: string, module: AnyModule, args: unknown[], call: number): unknown[] | undefined {
    if (this.#what.has('input')) {
      args.forEach((arg, i) => {
        if (arg instanceof Tensor) this.#record(layer, 'input', String(i), call, arg);
      });
    }
    if (!this.#what.has('gradInput')) return undefined;
    if ((module as { inplace?: unknown }).inplace === true) {
      args.forEach((arg, i) => {
        if (arg instanceof Tensor) this.#onGrad(layer, 'gradInput', String(i), call, arg);
      });
      return undefined;
    }
    return args.map((arg, i) => {
      if (!(arg instanceof Tensor) || !arg.requiresGrad || !isGradEnabled()) return arg;
      const session = this.#session;
      const [own] = identityNode([arg], ([grad]) => {
        if (grad && session === this.#session) this.#record(layer, 'gradInput', String(i), call, grad);
      });
      return own;
    });
  }

  #onOutput(layer: string, output: unknown, call: number): void {
    for (const [part, tensor] of partsOf(output)) {
      if (this.#what.has('output')) this.#record(layer, 'output', part, call, tensor);
      if (this.#what.has('gradOutput')) this.#onGrad(layer, 'gradOutput', part, call, tensor);
    }
  }

  /** Waits for the gradient of a tensor, where it will have one. */
  #onGrad(layer: string, what: CaptureKind, part: string, call: number, tensor: Tensor): void {
    if (!tensor.requiresGrad || !isGradEnabled()) return;
    const session = this.#session;
    tensor.registerHook((grad) => {
      if (session === this.#session) this.#record(layer, what, part, call, grad);
    });
  }

  #record(layer: string, what: CaptureKind, part: string, call: number, tensor: Tensor): void {
    for (const reduction of this.#reductions) {
      this.#seen.push({ layer, what, part, call, reduction, value: reduce(tensor, reduction) });
    }
  }
}

/** Tensors of a module's result: it, those of an array by place, those of a plain object by key. */
function partsOf(output: unknown): [string, Tensor][] {
  if (output instanceof Tensor) return [['0', output]];
  if (typeof output !== 'object' || output === null || ArrayBuffer.isView(output)) return [];
  return Object.entries(output).filter((entry): entry is [string, Tensor] => entry[1] instanceof Tensor);
}

function modulesOf(model: AnyModule, pattern: string): [string, AnyModule][] {
  if (!/[*?]/.test(pattern)) return [[pattern, model.getModule(pattern)]];
  const found = model.find(pattern);
  if (found.length > 0) return found;
  // What there is at the deepest place that the pattern reaches.
  const parts = pattern.split('.').slice(0, -1);
  let reached: [string, AnyModule] | undefined;
  for (; parts.length > 0 && !reached; parts.pop()) reached = model.find(parts.join('.'))[0];
  const names = [...(reached?.[1] ?? model).namedChildren()].map(([name]) => name).join(', ') || 'none';
  const where = reached ? `'${reached[0]}' has` : 'at its top are';
  throw new Error(`no module of ${model.typeName} matches '${pattern}'; ${where}: ${names}`);
}

function check(option: string, given: Iterable<string>, known: readonly string[]): void {
  let count = 0;
  for (const name of given) {
    count++;
    if (!known.includes(name))
      throw new Error(`capture: ${option} '${name}'; there are: ${known.join(', ')}`);
  }
  if (count === 0) throw new Error(`capture: ${option} is empty; there are: ${known.join(', ')}`);
}

const listOf = <T>(value: T | readonly T[]): readonly T[] =>
  Array.isArray(value) ? (value as readonly T[]) : [value as T];
