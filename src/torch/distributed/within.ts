import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for `work`, but no longer than `ms` milliseconds; meanwhile the process does not end. Throws what it throws. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  try {
    await Promise.race([work, sleep(ms, undefined, { signal: over.signal })]);
  } finally {
    over.abort();
  }
}
