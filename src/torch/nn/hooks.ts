import { identityNode, isGradEnabled } from '../autograd.js';
import { zeros } from '../ops.js';
import { type HookHandle, Tensor } from '../tensor.js';
import type { AnyModule } from './module.js';

/** Options of the `register…Hook` methods. */
export interface HookOptions {
  /** Run before the hooks registered so far instead of after them. */
  prepend?: boolean;
}

/** Gradients as backward hooks see them: one place per argument or output, `null` where there is none. */
export type Grads = readonly (Tensor | null)[];

// biome-ignore lint/suspicious/noConfusingVoidType: a hook may be declared to return nothing
type Nothing = undefined | null | void;
/** Arguments as a hook sees them: unknown ones where the module's type says nothing about them. */
type HookArgs<A extends unknown[]> = [A] extends [never] ? unknown[] : A;

// Written as methods so that a module of known types is also one of unknown types.

/** Sees the arguments before `forward`; may return replaced ones (an array, or the single argument). */
export type ForwardPreHook<M, A extends unknown[]> = {
  hook(module: M, args: HookArgs<A>): HookArgs<A> | HookArgs<A>[0] | Nothing;
}['hook'];
/** Sees arguments and output after `forward`; may return a replaced output. */
export type ForwardHook<M, A extends unknown[], R> = {
  hook(module: M, args: HookArgs<A>, output: R): R | Nothing;
}['hook'];
/** Sees the gradients of the outputs; may return replaced ones. */
export type BackwardPreHook<M> = { hook(module: M, gradOutput: Grads): Grads | Nothing }['hook'];
/** Sees the gradients of inputs and outputs; may return replaced gradients of the inputs. */
export type BackwardHook<M> = {
  hook(module: M, gradInput: Grads, gradOutput: Grads): Grads | Nothing;
}['hook'];

type AnyHook = (...args: never[]) => unknown;
interface Entry<F> {
  readonly fn: F;
}

/**
 * An ordered list of hooks. It is replaced, never changed: as in PyTorch, a call runs those that were registered when
 * it came to them, and one that is removed meanwhile once more.
 */
export class HookList<F extends AnyHook> {
  entries: readonly Entry<F>[] = [];

  add(fn: F, { prepend = false }: HookOptions = {}): HookHandle {
    if (typeof fn !== 'function') throw new TypeError(`a hook must be a function, got ${typeof fn}`);
    const entry: Entry<F> = { fn };
    this.entries = prepend ? [entry, ...this.entries] : [...this.entries, entry];
    const remove = (): void => {
      this.entries = this.entries.filter((e) => e !== entry);
    };
    return { remove, [Symbol.dispose]: remove };
  }
}

type Args = unknown[];
type PreHook = (module: AnyModule, args: Args) => unknown;
type PostHook = (module: AnyModule, args: Args, output: unknown) => unknown;
type BackwardPreFn = (module: AnyModule, gradOutput: Grads) => unknown;
type BackwardFn = (module: AnyModule, gradInput: Grads, gradOutput: Grads) => unknown;

/** The four hook lists of one module. */
export class ModuleHooks {
  readonly forwardPre = new HookList<PreHook>();
  readonly forward = new HookList<PostHook>();
  readonly backwardPre = new HookList<BackwardPreFn>();
  readonly backward = new HookList<BackwardFn>();

  get empty(): boolean {
    return (
      this.forwardPre.entries.length === 0 &&
      this.forward.entries.length === 0 &&
      this.backwardPre.entries.length === 0 &&
      this.backward.entries.length === 0
    );
  }

  /** Runs `forward` between the hooks, in PyTorch's order. Backward hooks are those registered at this moment. */
  run(module: AnyModule, args: Args, forward: (args: Args) => unknown): unknown {
    const backward = this.backward.entries;
    const backwardPre = this.backwardPre.entries;
    for (const hook of this.forwardPre.entries) {
      const replaced = hook.fn(module, args);
      if (replaced !== undefined && replaced !== null) args = Array.isArray(replaced) ? replaced : [replaced];
    }
    let link: BackwardLink | undefined;
    if (backward.length > 0 || backwardPre.length > 0) {
      link = new BackwardLink(module, backward, backwardPre);
      args = link.wrapInputs(args);
    }
    let output = forward(args);
    for (const hook of this.forward.entries) {
      const replaced = hook.fn(module, args, output);
      if (replaced !== undefined && replaced !== null) output = replaced;
    }
    return link === undefined ? output : link.wrapOutput(output);
  }
}

let warnedNoInput = false;
function warnNoInput(): void {
  if (warnedNoInput) return;
  warnedNoInput = true;
  process.emitWarning(
    'Full backward hook is firing when gradients are computed with respect to module outputs since no inputs ' +
      'require gradients.',
  );
}

/** What zeros like a gradient that did not arrive need. */
type Meta = Pick<Tensor, 'shape' | 'dtype' | 'device'>;

/**
 * One call of a module with backward hooks: an identity node around its inputs, one around its outputs.
 * The gradients that reach the outputs are remembered until those of the inputs are there too; then the
 * hooks run. Same cases as PyTorch's: when no input requires a gradient, the hooks run at the outputs.
 */
class BackwardLink {
  private readonly module: AnyModule;
  private readonly hooks: readonly Entry<BackwardFn>[];
  private readonly preHooks: readonly Entry<BackwardPreFn>[];
  private gradOutput: Grads | null = null;
  private inputCount = 0;
  /** Whether an input requires a gradient, so that there is a node around the inputs. */
  private inputsWrapped = false;
  private inputMetas: (Meta | null)[] = [];

  constructor(
    module: AnyModule,
    hooks: readonly Entry<BackwardFn>[],
    preHooks: readonly Entry<BackwardPreFn>[],
  ) {
    this.module = module;
    this.hooks = hooks;
    this.preHooks = preHooks;
  }

  wrapInputs(args: Args): Args {
    this.inputCount = args.length;
    const indices = needingGrad(args);
    if (indices.length === 0) return args;
    this.inputMetas = args.map((a) =>
      a instanceof Tensor ? { shape: a.shape, dtype: a.dtype, device: a.device } : null,
    );
    this.inputsWrapped = true;
    const wrapped = identityNode(
      indices.map((i) => args[i] as Tensor),
      (grads) => this.onInputGrads(grads, indices),
    );
    return spread(args, indices, wrapped);
  }

  wrapOutput(output: unknown): unknown {
    const isList = Array.isArray(output);
    if (!isList && !(output instanceof Tensor)) {
      process.emitWarning(
        `For backward hooks to be called, the output of ${this.module.typeName} should be a Tensor or an array of Tensors`,
      );
    }
    const outputs: unknown[] = isList ? output : [output];
    const indices = needingGrad(outputs);
    if (indices.length === 0) return output;
    const wrapped = identityNode(
      indices.map((i) => outputs[i] as Tensor),
      (grads) => this.onOutputGrads(grads, indices, outputs.length),
    );
    const result = spread(outputs, indices, wrapped);
    return isList ? result : result[0];
  }

  private onOutputGrads(grads: Grads, indices: number[], count: number): (Tensor | null)[] {
    let gradOutput = scatter(grads, indices, count);
    for (const hook of this.preHooks) {
      const replaced = hook.fn(this.module, gradOutput);
      if (replaced === undefined || replaced === null) continue;
      gradOutput = sameCount(replaced, count, 'Backward pre hook', 'grad_output', this.module);
    }
    if (!this.inputsWrapped) {
      warnNoInput();
      const none: Grads = new Array<null>(this.inputCount).fill(null);
      for (const hook of this.hooks) {
        const replaced = hook.fn(this.module, none, gradOutput);
        if (
          replaced !== undefined &&
          replaced !== null &&
          !(isGrads(replaced) && replaced.every((g) => g === null))
        ) {
          throw new Error(
            `Backward hook of ${this.module.typeName}: where no input requires gradient, a hook should return nothing or only nulls`,
          );
        }
      }
    } else {
      this.gradOutput = gradOutput;
    }
    return indices.map((i) => gradOutput[i] ?? null);
  }

  private onInputGrads(grads: Grads, indices: number[]): (Tensor | null)[] | undefined {
    // Null: the gradient came to the inputs another way than through the outputs (double backward).
    if (this.gradOutput === null) return undefined;
    const gradOutput = this.gradOutput;
    // As in PyTorch, hooks see zeros for tensors to which no gradient came.
    let gradInput: Grads = scatter(grads, indices, this.inputCount).map((grad, i) => {
      const meta = this.inputMetas[i];
      return grad === null && meta ? zeros(meta.shape, { dtype: meta.dtype, device: meta.device }) : grad;
    });
    for (const hook of this.hooks) {
      const replaced = hook.fn(this.module, gradInput, gradOutput);
      if (replaced === undefined || replaced === null) continue;
      gradInput = sameCount(replaced, this.inputCount, 'Backward hook', 'grad_input', this.module);
    }
    this.gradOutput = null;
    return indices.map((i) => gradInput[i] ?? null);
  }
}

/** Places of the tensors whose gradient is wanted. */
function needingGrad(values: readonly unknown[]): number[] {
  if (!isGradEnabled()) return [];
  return values.flatMap((value, i) => (value instanceof Tensor && value.requiresGrad ? [i] : []));
}

/** `values` with those at `indices` replaced. */
function spread(
  values: readonly unknown[],
  indices: readonly number[],
  replacements: readonly unknown[],
): unknown[] {
  const result = [...values];
  indices.forEach((index, k) => {
    result[index] = replacements[k];
  });
  return result;
}

function scatter(grads: Grads, indices: readonly number[], count: number): Grads {
  return spread(new Array<null>(count).fill(null), indices, grads) as (Tensor | null)[];
}

function isGrads(value: unknown): value is Grads {
  return Array.isArray(value) && value.every((g) => g === null || g instanceof Tensor);
}

function sameCount(value: unknown, count: number, who: string, what: string, module: AnyModule): Grads {
  const list: unknown = value instanceof Tensor ? [value] : value;
  if (!isGrads(list)) {
    throw new TypeError(`${who} of ${module.typeName} must return nothing or an array of Tensor | null`);
  }
  if (list.length !== count) {
    throw new Error(
      `${who} of ${module.typeName} returned an invalid number of ${what}, got ${list.length}, but expected ${count}`,
    );
  }
  return list;
}
