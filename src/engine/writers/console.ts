import { logger } from '../../logger.js';
import { type EventStorage, type EventWriter, getEventStorage } from '../events.js';
import { formatDuration, formatLr, formatShort } from '../format.js';

/** Seconds that remain, from the median time of recent iterations; undefined before any was timed. */
export function etaSeconds(storage: EventStorage, maxIter: number): number | undefined {
  if (!storage.has('time')) return undefined;
  return storage.history('time').median(1000) * (maxIter - storage.iter - 1);
}

/** `total_loss: 4.9  loss_cls: 4.46 …`: every scalar with `loss` in its name, as a median of 200 values. */
export function lossText(storage: EventStorage, window: number): string {
  return [...storage.histories()]
    .filter(([name]) => name.includes('loss'))
    .map(([name, history]) => `${name}: ${formatShort(history.median(window))}`)
    .join('  ');
}

/**
 * One line to terminal and log with what one watches during training: time left, epoch and iteration, losses,
 * seconds an iteration and for data, learning rate, memory.
 */
export class ConsoleWriter implements EventWriter {
  private readonly maxIter: number;
  private readonly maxMemoryMB: (() => number | undefined) | undefined;

  /**
   * @param maxIter iterations of the whole training, for the time left
   * @param maxMemoryMB peak memory to report, in MiB
   */
  constructor(maxIter: number, maxMemoryMB?: () => number | undefined) {
    this.maxIter = maxIter;
    this.maxMemoryMB = maxMemoryMB;
  }

  write(): void {
    const storage = getEventStorage();
    const eta = etaSeconds(storage, this.maxIter);
    if (eta !== undefined) storage.putScalar('eta_seconds', eta, { smoothing: false });
    const parts = [
      eta === undefined ? '' : `eta: ${formatDuration(eta)}`,
      `epoch/iter: ${storage.epoch}/${storage.iter}`,
      lossText(storage, 200),
      storage.has('time') ? `time: ${storage.history('time').globalAvg().toFixed(4)}` : '',
      storage.has('data_time') ? `data_time: ${storage.history('data_time').avg(20).toFixed(4)}` : '',
      `lr: ${storage.has('lr') ? formatLr(storage.history('lr').latest()) : 'N/A'}`,
    ];
    const memory = this.maxMemoryMB?.();
    if (memory !== undefined) parts.push(`max_mem: ${memory.toFixed(0)}M`);
    logger.info(parts.filter(Boolean).join('  '));
  }

  close(): void {}
}
