// Gradient modes, gradients as values, and functions whose derivative is written in TypeScript.

import { native } from './native.js';
import { refusePromise } from './synchronous.js';
import { Tensor, wrap } from './tensor.js';

function withGrad<T>(enabled: boolean, body: () => T, name: string): T {
  const before = native.isGradEnabled();
  native.setGradEnabled(enabled);
  try {
    return refusePromise(body(), name);
  } finally {
    native.setGradEnabled(before);
  }
}

/** Runs `body` without recording operators for backward. */
export function noGrad<T>(body: () => T): T {
  return withGrad(false, body, 'noGrad');
}

/** Runs `body` with recording on, inside `noGrad` too. */
export function enableGrad<T>(body: () => T): T {
  return withGrad(true, body, 'enableGrad');
}

/** Like `noGrad`, faster; tensors made inside can never take part in a recorded computation. */
export function inferenceMode<T>(body: () => T): T {
  native.pushInferenceMode(true);
  try {
    return refusePromise(body(), 'inferenceMode');
  } finally {
    native.popInferenceMode();
  }
}

export function isGradEnabled(): boolean {
  return native.isGradEnabled();
}

export function setGradEnabled(enabled: boolean): void {
  native.setGradEnabled(enabled);
}

const ids = (tensors: readonly (Tensor | null | undefined)[]): number[] =>
  tensors.map((tensor) => tensor?.handle ?? 0);
const tensorOrNull = (id: number): Tensor | null => (id === 0 ? null : wrap(id));
const asList = <T>(value: T | readonly T[]): readonly T[] =>
  Array.isArray(value) ? (value as readonly T[]) : [value as T];

export interface GradOptions {
  gradOutputs?: Tensor | readonly (Tensor | null)[];
  retainGraph?: boolean;
  createGraph?: boolean;
  /** Return null instead of failing for inputs on which no output depends. */
  allowUnused?: boolean;
}

/** Gradients of the sum of `outputs` (or of their products with `gradOutputs`) with respect to `inputs`. */
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: Tensor | readonly Tensor[],
  options: GradOptions = {},
): (Tensor | null)[] {
  const given = options.gradOutputs === undefined ? [] : asList<Tensor | null>(options.gradOutputs);
  return native
    .grad(
      ids(asList(outputs)),
      ids(asList(inputs)),
      ids(given),
      options.retainGraph,
      options.createGraph ?? false,
      options.allowUnused ?? false,
    )
    .map(tensorOrNull);
}

/** Accumulates the gradients of several tensors at once in the leaves of their graphs. */
export function backward(
  tensors: readonly Tensor[],
  gradients: readonly (Tensor | null)[] = [],
  options: { retainGraph?: boolean; createGraph?: boolean; inputs?: readonly Tensor[] } = {},
): void {
  native.backward(
    ids(tensors),
    ids(gradients),
    options.retainGraph,
    options.createGraph ?? false,
    ids(options.inputs ?? []),
  );
}

/** The gradients of many tensors in one call. */
export function gradsOf(tensors: readonly Tensor[]): (Tensor | null)[] {
  return native.gradsOf(ids(tensors)).map(tensorOrNull);
}

/**
 * Puts the tensors through an identity of the graph, whose backward calls `onGrad` with their gradients (null
 * where there is none) and uses what it returns instead. Outputs are views, as of Python's custom functions:
 * changing one in place fails where autograd could not follow.
 */
export function identityNode(
  tensors: readonly Tensor[],
  // biome-ignore lint/suspicious/noConfusingVoidType: a hook may be declared to return nothing
  onGrad: (grads: (Tensor | null)[]) => (Tensor | null)[] | undefined | void,
): Tensor[] {
  return native
    .identity(ids(tensors), (gradients) => {
      const result = onGrad(gradients.map(tensorOrNull));
      return result === undefined ? undefined : ids(result);
    })
    .map((id) => wrap(id));
}

/** What a custom function's forward tells its backward. */
export class FunctionContext {
  /** Which tensor arguments need a gradient, by position among all arguments. */
  needsInputGrad: boolean[] = [];
  private saved: Tensor[] = [];
  private dirty: Tensor[] = [];
  private fixed: Tensor[] = [];
  private materialize = true;
  private outputs = 0;

  /** Saves inputs or outputs for backward; version changes are noticed, and no cycle keeps them alive. */
  saveForBackward(...tensors: Tensor[]): void {
    this.saved = tensors;
  }
  /** In backward: the tensors that were saved. */
  get savedTensors(): Tensor[] {
    return this.saved;
  }
  /** Names inputs that forward changed in place; they must be returned as outputs. */
  markDirty(...tensors: Tensor[]): void {
    this.dirty = tensors;
  }
  markNonDifferentiable(...tensors: Tensor[]): void {
    this.fixed = tensors;
  }
  /** false: backward sees null, not zeros, for outputs without a gradient. */
  setMaterializeGrads(value: boolean): void {
    this.materialize = value;
  }

  /** @internal */
  static finish(context: FunctionContext, outputs: number): [number[], number[], number[], boolean] {
    context.outputs = outputs;
    const parts: [number[], number[], number[], boolean] = [
      ids(context.saved),
      ids(context.dirty),
      ids(context.fixed),
      context.materialize,
    ];
    // The graph holds them from here; the context must not, or nothing would ever be released.
    context.saved = [];
    context.dirty = [];
    context.fixed = [];
    return parts;
  }
  /** @internal */
  static outputCount(context: FunctionContext): number {
    return context.outputs;
  }
  /** @internal */
  static restore(context: FunctionContext, saved: Tensor[]): void {
    context.saved = saved;
  }
}

type Gradients = Tensor | null | readonly (Tensor | null | undefined)[];

interface FunctionClass<A extends unknown[], R extends Tensor | Tensor[]> {
  forward(context: FunctionContext, ...args: A): R;
  backward(context: FunctionContext, ...grads: Tensor[]): Gradients;
}

/**
 * A differentiable function written in TypeScript: a subclass has static `forward(ctx, ...args)`, returning
 * one tensor or an array, and static `backward(ctx, ...gradOutputs)`, returning one gradient for each argument
 * of forward (null for arguments that are no tensors). Called by `apply`.
 */
// biome-ignore lint/complexity/noStaticOnlyClass: users extend it, as they do in PyTorch
// biome-ignore lint/suspicious/noShadowRestrictedNames: PyTorch's name; it is used as torch.autograd.Function
export abstract class Function {
  static apply<A extends unknown[], R extends Tensor | Tensor[]>(this: FunctionClass<A, R>, ...args: A): R {
    const context = new FunctionContext();
    const positions: number[] = [];
    const inputs: Tensor[] = [];
    args.forEach((argument, position) => {
      if (argument instanceof Tensor) {
        positions.push(position);
        inputs.push(argument);
      }
    });
    context.needsInputGrad = args.map((argument) => argument instanceof Tensor && argument.requiresGrad);
    let single = false;
    const forward = (): ReturnType<Parameters<typeof native.applyFunction>[1]> => {
      const result = this.forward(context, ...args);
      single = result instanceof Tensor;
      const list = asList<Tensor>(result);
      if (list.length === 0 || !list.every((output) => output instanceof Tensor)) {
        throw new TypeError('forward of a custom Function must return a Tensor or an array of them');
      }
      return [ids(list), ...FunctionContext.finish(context, list.length)];
    };
    const run = backwardOf(this, context, positions, args.length);
    const outputs = native.applyFunction(ids(inputs), forward, run);
    const tensors = outputs.map((id) => wrap(id));
    return (single ? tensors[0] : tensors) as R;
  }
}

/**
 * What the graph calls. Made here because the graph holds it: a closure in `apply` would share a scope with
 * forward's and so keep its arguments alive, for ever where one of them is also an output.
 */
function backwardOf(
  implementation: { backward(context: FunctionContext, ...grads: Tensor[]): Gradients },
  context: FunctionContext,
  positions: readonly number[],
  argumentCount: number,
): (given: number[]) => number[] {
  return (given) => {
    const outputCount = FunctionContext.outputCount(context);
    const gradients = given.slice(0, outputCount).map((id) => tensorOrNull(id) as Tensor);
    FunctionContext.restore(
      context,
      given.slice(outputCount).map((id) => wrap(id)),
    );
    let result: readonly (Tensor | null | undefined)[];
    try {
      result = asList<Tensor | null | undefined>(implementation.backward(context, ...gradients) as Gradients);
    } finally {
      FunctionContext.restore(context, []);
    }
    if (result.length !== argumentCount) {
      throw new TypeError(
        `backward of a custom Function returned ${result.length} gradients for ${argumentCount} arguments`,
      );
    }
    return ids(
      positions.map((position) => {
        const gradient = result[position];
        if (gradient === null || gradient === undefined || gradient instanceof Tensor) return gradient;
        throw new TypeError(`backward of a custom Function returned a ${typeof gradient} as a gradient`);
      }),
    );
  };
}

/**
 * How backward calls hooks: 'auto' runs it on this thread unless CUDA's engine threads may call JavaScript;
 * 'queue' always runs it on a native thread that sends each call here, for tests on the CPU.
 */
export function setBackwardMode(mode: 'auto' | 'queue'): void {
  native.setForceQueue(mode === 'queue');
}
