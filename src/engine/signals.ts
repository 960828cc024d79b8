import { constants } from 'node:os';
import { logger } from '../logger.js';
import type { TrainerBase } from './train-loop.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * The exit status that shells expect of a process ended by a signal (SIGINT: 130); 128 for another reason, as when
 * another rank was asked to stop.
 */
export function signalExitCode(signal: string): number {
  return 128 + (constants.signals[signal as keyof typeof constants.signals] ?? 0);
}

/**
 * From now on the first Ctrl-C (or SIGTERM, which schedulers send) lets the trainer finish its step, save and
 * return; the second ends the process at once. Returns a function that takes the handlers away.
 */
export function stopOnSignals(trainer: TrainerBase): () => void {
  const handle = (signal: NodeJS.Signals): void => {
    if (trainer.requestStop(signal)) {
      logger.warn(`${signal}: stopping after the step in progress, then saving; once more exits at once`);
    } else {
      process.exit(signalExitCode(signal));
    }
  };
  for (const signal of SIGNALS) process.on(signal, handle);
  return () => {
    for (const signal of SIGNALS) process.off(signal, handle);
  };
}
