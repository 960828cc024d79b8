/**
 * Returns what the callback of `name`, which holds while it runs, has returned.
 *
 * @throws TypeError for a promise: the mode would be over before the work, or hold for other code
 */
export function refusePromise<T>(value: T, name: string): T {
  if (value instanceof Promise) {
    value.catch(() => undefined);
    throw new TypeError(`${name} must not be asynchronous: its mode would leak into other code`);
  }
  return value;
}

/** Runs `body`, then `end`, even after an error; where both fail, the first error is thrown: it says why. */
export function endingWith<T>(body: () => T, end: () => void): T {
  let result: T;
  try {
    result = body();
  } catch (error) {
    try {
      end();
    } catch {
      // It follows from the first.
    }
    throw error;
  }
  end();
  return result;
}
