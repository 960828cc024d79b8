import { constants } from 'node:os';
import { logger } from '../logger.js';
import type { TrainerBase } from './train-loop.js';

export const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** What follows within this time, in ms, is the same Ctrl-C: the terminal sends it to all, and npm passes it on. */
const SAME = 200;

/**
 * The exit status that shells expect of a process ended by a signal (SIGINT: 130); 128 for another reason, as when
 * another rank was asked to stop.
 */
export function signalExitCode(signal: string): number {
  return 128 + (constants.signals[signal as keyof typeof constants.signals] ?? 0);
}

/**
 * Calls `first` for the first Ctrl-C or SIGTERM, and `again` for every further one. Returns a function that ends it.
 */
export function onSignals(
  first: (signal: NodeJS.Signals) => void,
  again: (signal: NodeJS.Signals) => void,
): () => void {
  let since: number | undefined;
  const handle = (signal: NodeJS.Signals): void => {
    const before = since;
    since ??= performance.now();
    if (before === undefined) first(signal);
    else if (performance.now() - before > SAME) again(signal);
  };
  for (const signal of SIGNALS) process.on(signal, handle);
  return () => {
    for (const signal of SIGNALS) process.off(signal, handle);
  };
}

/**
 * From now on the first Ctrl-C (or SIGTERM, which schedulers send) lets the trainer finish its step, save and
 * return; the second ends the process at once. Returns a function that takes the handlers away.
 */
export function stopOnSignals(trainer: TrainerBase): () => void {
  const exit = (signal: NodeJS.Signals): void => process.exit(signalExitCode(signal));
  return onSignals((signal) => {
    if (!trainer.requestStop(signal)) exit(signal);
    logger.warn(`${signal}: stopping after the step in progress, then saving; once more exits at once`);
  }, exit);
}
