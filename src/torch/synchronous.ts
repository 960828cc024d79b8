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
