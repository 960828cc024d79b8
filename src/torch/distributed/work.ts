// A collective under way.

import { native } from '../native.js';

/** Something between processes went wrong: one is dead, stuck or cut off, or has failed itself. */
export class DistributedError extends Error {
  override readonly name = 'DistributedError';
}

/** Signs of life come every second: who has given none for this long, in ms, is named as silent. */
const SILENT_AFTER = 2500;
const DIAGNOSIS_TIME = 4000;

/** The error of a failed operation, which says which rank is the cause, if that can be found out. Blocks for it. */
export function distributedError(what: string, cause: unknown): DistributedError {
  const raw = cause instanceof Error ? cause.message : String(cause);
  const message = raw.replace(/ This is typically caused by.*$/s, '').trim();
  const pause = new Int32Array(new SharedArrayBuffer(4));
  // After a time-out everything is known; a broken connection is noticed before the silence behind it.
  const end = /time(d )?-?out/i.test(message) ? 0 : Date.now() + DIAGNOSIS_TIME;
  let report = native.healthReport(SILENT_AFTER, false);
  while (report === '' && Date.now() < end) {
    Atomics.wait(pause, 0, 0, 200);
    report = native.healthReport(SILENT_AFTER, false);
  }
  if (report === '') report = native.healthReport(SILENT_AFTER, true);
  return new DistributedError(`${what}: ${report.trim()}${report && ' '}(${message})`, { cause });
}

const forgotten = new FinalizationRegistry<number>((id) => native.workForget(id));

/**
 * A collective that has begun. `await` it, which waits on a native thread; or, in code that cannot, call `wait()`,
 * which blocks JavaScript. Tensors that take part must not be changed before, and a scope that made them must not end.
 *
 * @typeParam T the result
 */
export class Work<T = void> implements PromiseLike<T> {
  readonly #name: string;
  readonly #finish: () => T;
  #id: number | undefined;
  #promise: Promise<T> | undefined;
  #result: { value: T } | { error: unknown } | undefined;

  /** For this package. @param finish makes the result once the collective is done */
  constructor(name: string, id: number, finish: () => T) {
    this.#name = name;
    this.#id = id;
    this.#finish = finish;
    forgotten.register(this, id, this);
  }

  /**
   * Blocks until it is done. On CUDA the current stream waits, not JavaScript.
   *
   * @throws DistributedError that names the rank at fault where it can
   */
  wait(): T {
    if (this.#result === undefined) {
      if (this.#promise) throw new Error(`${this.#name}: wait() after it was awaited`);
      this.#settle(() => native.workWait(this.#take()));
    }
    const result = this.#result!;
    if ('error' in result) throw result.error;
    return result.value;
  }

  // biome-ignore lint/suspicious/noThenProperty: a work is meant to be awaited
  then<A = T, B = never>(
    onDone?: ((value: T) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#promise ??= this.#run();
    return this.#promise.then(onDone, onError);
  }

  async #run(): Promise<T> {
    if (this.#result === undefined) {
      let failure: { error: unknown } | undefined;
      try {
        await native.workPromise(this.#take());
      } catch (error) {
        failure = { error };
      }
      this.#settle(() => {
        if (failure) throw failure.error;
      });
    }
    const result = this.#result!;
    if ('error' in result) throw result.error;
    return result.value;
  }

  #take(): number {
    const id = this.#id!;
    this.#id = undefined;
    forgotten.unregister(this);
    return id;
  }

  #settle(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#result = { error: distributedError(this.#name, error) };
      return;
    }
    try {
      this.#result = { value: this.#finish() };
    } catch (error) {
      this.#result = { error };
    }
  }
}
