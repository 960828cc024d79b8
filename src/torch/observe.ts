// Watching operator calls: what summaries, counts of multiplications and recordings are made of.

/** One operator that TypeScript called. */
export interface OperatorCall {
  /** ATen's name: `conv2d`, `add_`. */
  readonly name: string;
  /** The arguments as they were given; a method's `this` is the first. A trailing object holds keywords. */
  readonly args: readonly unknown[];
  /** What it returned; an in-place operator returns the very object it was given. */
  readonly result: unknown;
}

/** Sees each call after it was made. Operators that the observer itself calls are not reported. */
export type OperatorObserver = (call: OperatorCall) => void;

/** Read at each operator call: nothing but this is paid when nobody observes. */
export const observing: { observer: OperatorObserver | undefined } = { observer: undefined };

/**
 * Runs `body` and reports every operator that TypeScript calls meanwhile, hooks in a backward pass included.
 * What libtorch calls on its own account, inside an operator or in backward, is not reported. Observers may be
 * nested: the inner one is told first.
 *
 * Tensors of a call may be released soon after it; an observer that wants one for longer must `clone().keep()`.
 *
 * @throws TypeError if `body` returns a promise: other code would be observed with it
 */
export function observeOperators<T>(observer: OperatorObserver, body: () => T): T {
  const outer = observing.observer;
  observing.observer =
    outer === undefined
      ? observer
      : (call) => {
          observer(call);
          outer(call);
        };
  let result: T;
  try {
    result = body();
  } finally {
    observing.observer = outer;
  }
  if (result instanceof Promise) {
    result.catch(() => undefined);
    throw new TypeError('observeOperators must not be asynchronous: it would observe other code too');
  }
  return result;
}
