import { multiplyAccumulates } from '../macs.js';
import { native } from '../native.js';
import { type OperatorCall, observeOperators } from '../observe.js';
import { type HookHandle, Tensor } from '../tensor.js';
import type { AnyModule, Module } from './module.js';

/** What one module of a model is and does. */
export interface ModuleSummary {
  /** Dotted path; '' for the model itself. */
  path: string;
  type: string;
  /** 0 for the model itself. */
  depth: number;
  /** How often it was called. */
  calls: number;
  /** Shapes of the tensors that its last call returned; empty where it was not called. */
  outputs: number[][];
  /** Elements of its parameters and those of all modules below, each counted once. */
  parameters: number;
  /** Of these, those that require a gradient. */
  trainable: number;
  /** Multiply-accumulate operations while it ran, those of the modules it called included. */
  macs: number;
  /** Of these, those of operators that it called itself. */
  ownMacs: number;
}

/** What `summarize` found. */
export interface Summary<R> {
  /** The model and all modules below it, in the order of `namedModules`. */
  modules: ModuleSummary[];
  /** Bytes of all tensors that operators made, views not counted: about what training keeps for backward. */
  activationBytes: number;
  /** What the model returned. */
  result: R;
}

/**
 * Calls a module once and tells what each module in it is and does: parameters, output shapes and
 * multiply-accumulate operations, which are counted from the operators called (`multiplyAccumulates`) and so
 * include what `forward` computes without a layer. Modes and gradients are the caller's: call `eval()` before,
 * within `torch.noGrad`, for figures of inference.
 */
export function summarize<A extends unknown[], R>(module: Module<A, R>, ...args: A): Summary<R> {
  const rows = new Map<AnyModule, ModuleSummary>();
  for (const [path, each] of module.namedModules()) rows.set(each, describe(path, each));
  const running: ModuleSummary[] = [];
  const handles: HookHandle[] = [];
  let activationBytes = 0;
  try {
    for (const [each, row] of rows) {
      handles.push(
        each.registerForwardPreHook(() => void running.push(row), { prepend: true }),
        each.registerForwardHook((_module, _args, output) => {
          running.pop();
          row.calls++;
          row.outputs = shapesIn(output);
        }),
      );
    }
    const result = observeOperators(
      (call) => {
        activationBytes += bytesMade(call);
        const macs = multiplyAccumulates(call);
        const innermost = running.at(-1);
        if (macs === 0 || innermost === undefined) return;
        innermost.ownMacs += macs;
        for (const row of new Set(running)) row.macs += macs;
      },
      () => module.call(...args),
    );
    return { modules: [...rows.values()], activationBytes, result };
  } finally {
    for (const handle of handles) handle.remove();
  }
}

function describe(path: string, module: AnyModule): ModuleSummary {
  let parameters = 0;
  let trainable = 0;
  for (const parameter of module.parameters()) {
    const count = parameter.numel();
    parameters += count;
    if (parameter.requiresGrad) trainable += count;
  }
  const depth = path === '' ? 0 : path.split('.').length;
  const type = module.typeName;
  return { path, type, depth, calls: 0, outputs: [], parameters, trainable, macs: 0, ownMacs: 0 };
}

/** Bytes of the tensors among a call's results that lie in memory of their own, not in an argument's. */
function bytesMade({ args, result }: OperatorCall): number {
  const given = new Set(args.flatMap(tensorsIn).map(storageKey));
  const made = tensorsIn(result).filter((tensor) => !given.has(storageKey(tensor)));
  return made.reduce((sum, tensor) => sum + tensor.numel() * tensor.dtype.itemsize, 0);
}

/** The memory that a tensor lies in; sparse ones have none that could be shared. */
function storageKey(tensor: Tensor): unknown {
  try {
    return native.storage(tensor.handle)[0];
  } catch {
    return tensor;
  }
}

const shapesIn = (value: unknown): number[][] => tensorsIn(value).map(({ shape }) => shape);

/** A tensor, or those in arrays and plain objects of tensors. */
function tensorsIn(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value];
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return [];
  return Object.values(value).flatMap(tensorsIn);
}
