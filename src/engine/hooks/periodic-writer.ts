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
  }

  override afterStep(): void {
    const { iter, iterInEpoch, itersPerEpoch } = this.trainer;
    // The epoch's last iteration is written by afterEpoch, once the other hooks have put their results.
    if ((iter + 1) % this.period === 0 && iterInEpoch + 1 < itersPerEpoch) this.write();
  }

  override afterEpoch(): void {
    this.write();
  }

  override afterTrain(): void {
    if (this.trainer.outcome === 'stopped' && this.trainer.storage.iter > this.lastWritten) this.write();
    for (const writer of this.writers) writer.close();
  }

  private write(): void {
    this.lastWritten = this.trainer.storage.iter;
    for (const writer of this.writers) writer.write();
  }
}
