import type { EventWriter } from '../events.js';
import { HookBase } from '../train-loop.js';

/**
 * Lets writers write every `period` iterations and after every epoch, and closes them at the end. To be registered
 * last, so that what other hooks put (test results above all) is there to be written.
 */
export class PeriodicWriter extends HookBase {
  private readonly makeWriters: () => readonly EventWriter[];
  private writers: readonly EventWriter[] = [];
  private readonly period: number;
  private lastWritten = -1;

  /** @param writers the writers, or a function that opens them when training begins */
  constructor(writers: readonly EventWriter[] | (() => readonly EventWriter[]), period = 200) {
    super();
    this.makeWriters = typeof writers === 'function' ? writers : () => writers;
    this.period = period;
  }

  override beforeTrain(): void {
    this.writers = this.makeWriters();
    const { startIter, epoch, itersPerEpoch, storage } = this.trainer;
    // Where a run that never stopped would have written last.
    storage.windowStart = Math.max(startIter - (startIter % this.period), epoch * itersPerEpoch);
  }

  override async afterStep(): Promise<void> {
    const { iter, iterInEpoch, itersPerEpoch } = this.trainer;
    // The epoch's last iteration is written by afterEpoch, once the other hooks have put their results.
    if ((iter + 1) % this.period === 0 && iterInEpoch + 1 < itersPerEpoch) await this.write();
  }

  override async afterEpoch(): Promise<void> {
    await this.write();
  }

  override async afterTrain(): Promise<void> {
    const { outcome, storage } = this.trainer;
    if (outcome === 'stopped' && storage.iter > this.lastWritten) await this.write();
    for (const writer of this.writers) writer.close();
  }

  private async write(): Promise<void> {
    this.lastWritten = this.trainer.storage.iter;
    for (const writer of this.writers) await writer.write();
    this.trainer.storage.written();
  }
}
