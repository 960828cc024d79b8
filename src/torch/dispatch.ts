// Operators as JavaScript functions. An operator is looked up in libtorch when it is first called.

import { invoke, invoke1, invoke2, nameOperator } from './exchange.js';
import { native } from './native.js';
import { observing } from './observe.js';
import { unsafeOperators } from './unsafe_ops.js';

function resolve(name: string): number {
  const reason = unsafeOperators[name];
  if (reason !== undefined) throw new TypeError(`aten::${name} cannot be called from JavaScript: ${reason}`);
  const index = native.resolve(name);
  nameOperator(index, name);
  return index;
}

// A function of its own: a closure in `call` would cost each call an object for its variables.
function invokeObserved(name: string, index: number, args: unknown[]): unknown {
  const result = invoke(index, args);
  const { observer } = observing;
  observing.observer = undefined;
  try {
    observer?.({ name, args, result });
  } finally {
    observing.observer = observer;
  }
  return result;
}

/** The operator as a function of all its arguments. `F` is its generated type. */
export function operator<F>(name: string): F {
  let index = -1;
  const call = (...args: unknown[]): unknown => {
    if (index < 0) index = resolve(name);
    if (observing.observer !== undefined) return invokeObserved(name, index, args);
    if (args.length === 2) return invoke2(index, args[0], args[1]);
    if (args.length === 1) return invoke1(index, args[0]);
    return invoke(index, args);
  };
  return call as F;
}

/** The operator as a method: `this` is its first argument. */
export function method(name: string): (this: unknown, ...args: unknown[]) => unknown {
  let index = -1;
  return function (this: unknown, ...args: unknown[]): unknown {
    if (index < 0) index = resolve(name);
    if (observing.observer !== undefined) return invokeObserved(name, index, [this, ...args]);
    if (args.length === 1) return invoke2(index, this, args[0]);
    if (args.length === 0) return invoke1(index, this);
    return invoke(index, [this, ...args]);
  };
}

/** Names of all operators that can be called. */
export function operatorNames(): string[] {
  const names = new Set<string>();
  for (const [schema, reason] of native.schemas()) {
    const name = /^aten::([^.(]+)/.exec(schema)?.[1];
    if (name !== undefined && reason === '' && unsafeOperators[name] === undefined) names.add(name);
  }
  return [...names];
}

/** The schemas of one operator, as libtorch writes them. */
export function schemas(name: string): string[] {
  return native.schemas(name).map(([schema]) => schema);
}
