// Who owns tensors: scopes own what is created while they are open, the garbage collector owns the rest.

import { header, values } from './exchange.js';
import { native } from './native.js';
import { guard, scopeState, Tensor } from './tensor.js';

function collect(value: unknown, found: Tensor[], seen: Set<object>): void {
  if (typeof value !== 'object' || value === null) return;
  if (value instanceof Tensor) {
    found.push(value);
    return;
  }
  if (ArrayBuffer.isView(value) || seen.has(value)) return;
  seen.add(value);
  if (Array.isArray(value) || value instanceof Set) {
    for (const element of value) collect(element, found, seen);
  } else if (value instanceof Map) {
    for (const element of value.values()) collect(element, found, seen);
  } else {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) {
      for (const element of Object.values(value)) collect(element, found, seen);
    }
  }
}

function close(mark: number, returned: readonly Tensor[]): void {
  let kept = returned;
  if (kept.length > values.length) {
    // More than one call can carry: they leave every scope and are the garbage collector's from here.
    for (const tensor of kept) if (!tensor.isDisposed) tensor.keep();
    kept = [];
  }
  for (let i = 0; i < kept.length; i++) values[i] = kept[i]!.handle;
  header[1] = kept.length;
  header[2] = header[2]! + 1;
  native.scopeClose(mark);
  scopeState.depth--;
  if (scopeState.depth === 0) for (const tensor of kept) if (!tensor.isDisposed) guard(tensor);
}

/** A scope held open by `using scope = torch.scope()`. */
export class Scope implements Disposable {
  readonly #mark: number;
  readonly #depth: number;
  #open = true;

  constructor() {
    this.#mark = native.scopeOpen();
    this.#depth = ++scopeState.depth;
  }

  /** Takes tensors (also inside arrays, maps and plain objects) out of every scope; returns the argument. */
  keep<T>(value: T): T {
    return keep(value);
  }

  /** Ends the scope: everything created in it and not kept is released. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    if (scopeState.depth !== this.#depth) throw new Error('scopes must be closed innermost first');
    this.#open = false;
    close(this.#mark, []);
  }
}

/** Takes tensors (also inside arrays, maps and plain objects) out of every scope; returns the argument. */
export function keep<T>(value: T): T {
  const found: Tensor[] = [];
  collect(value, found, new Set());
  for (const tensor of found) tensor.keep();
  return value;
}

/**
 * Runs `body` and releases every tensor created meanwhile, except those it returns (alone or in arrays, maps,
 * sets and plain objects) and those on which `keep()` was called. What it returns belongs to the surrounding
 * scope, or to the garbage collector where there is none.
 *
 * Without an argument it opens a scope for `using`.
 *
 * @throws TypeError if `body` returns a promise: a scope cannot stay open while other code runs.
 */
export function scope(): Scope;
export function scope<T>(body: () => T): T;
export function scope<T>(body?: () => T): T | Scope {
  if (body === undefined) return new Scope();
  const mark = native.scopeOpen();
  const depth = ++scopeState.depth;
  let result: T;
  try {
    result = body();
  } catch (error) {
    unwind(mark, depth);
    throw error;
  }
  if (scopeState.depth !== depth) {
    unwind(mark, depth);
    throw new Error('a scope opened inside this one was left open: close it, or use `using`');
  }
  if (result instanceof Tensor) {
    close(mark, [result]);
  } else if (result === undefined || typeof result !== 'object') {
    close(mark, []);
  } else if (result instanceof Promise) {
    close(mark, []);
    result.catch(() => undefined);
    throw new TypeError('a scope must not be asynchronous: keep() what has to live across an await');
  } else {
    const found: Tensor[] = [];
    collect(result, found, new Set());
    close(mark, found);
  }
  return result;
}

/** Ends a scope after an error, with those inside it that were left open. */
function unwind(mark: number, depth: number): void {
  while (scopeState.depth > depth) {
    header[1] = 0;
    native.scopeClose(mark);
    scopeState.depth--;
  }
  close(mark, []);
}

/** One live tensor, as the debug mode reports it. */
export interface LiveTensor {
  shape: number[];
  dtype: string;
  /** Size of its elements; views of one memory are counted each. */
  bytes: number;
  /** Where JavaScript created it; only for tensors created while tracking was on. */
  stack: string | undefined;
}

/** Switches the recording of allocation sites on or off. It makes every operator call several µs slower. */
export function trackAllocations(enabled: boolean): void {
  scopeState.sites = enabled ? (scopeState.sites ?? new Map()) : undefined;
}

/** Every tensor that JavaScript holds at this moment, largest first. */
export function liveTensors(): LiveTensor[] {
  const sites = scopeState.sites;
  const ids = native.liveIds();
  if (sites !== undefined) {
    const alive = new Set(ids);
    for (const id of sites.keys()) if (!alive.has(id)) sites.delete(id);
  }
  return ids
    .map((id) => {
      const tensor = Tensor.borrow(id);
      const { shape, dtype } = tensor;
      const bytes = shape.reduce((product, size) => product * size, 1) * dtype.itemsize;
      return { shape, dtype: dtype.name, bytes, stack: sites?.get(id) };
    })
    .sort((a, b) => b.bytes - a.bytes);
}

/** Counts of what is alive: tensors JavaScript holds; bytes of CPU memory all tensors hold, now and at most. */
export function memoryStats(): { liveTensors: number; liveBytes: number; peakBytes: number } {
  return native.memoryStats();
}

/** Starts the count of peak bytes anew. */
export function resetPeakMemory(): void {
  native.resetPeak();
}
