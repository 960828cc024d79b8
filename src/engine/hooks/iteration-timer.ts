import { logger } from '../../logger.js';
import { formatDuration } from '../format.js';
import { HookBase } from '../train-loop.js';

/**
 * Puts the seconds of each step into the storage as `time`, and says at the end how fast training was and how
 * much of it went to hooks. To be registered first, so that a step's time is the step's.
 */
export class IterationTimer extends HookBase {
  private readonly warmupIters: number;
  private trainStart = 0;
  private stepStart = 0;
  private stepSeconds = 0;
  private timedSteps = 0;

  /** @param warmupIters iterations at the beginning that are not timed: they allocate, and are slower. */
  constructor(warmupIters = 3) {
    super();
    this.warmupIters = warmupIters;
  }

  override beforeTrain(): void {
    this.trainStart = performance.now();
    this.stepSeconds = 0;
    this.timedSteps = 0;
  }

  override beforeStep(): void {
    this.stepStart = performance.now();
  }

  override afterStep(): void {
    const now = performance.now();
    const done = this.trainer.iter - this.trainer.startIter + 1;
    if (done <= this.warmupIters) {
      this.trainStart = now;
      return;
    }
    const seconds = (now - this.stepStart) / 1000;
    this.stepSeconds += seconds;
    this.timedSteps++;
    this.trainer.storage.putScalar('time', seconds);
  }

  override afterTrain(): void {
    const total = (performance.now() - this.trainStart) / 1000;
    if (this.timedSteps > 0) {
      const perStep = (this.stepSeconds / this.timedSteps).toFixed(4);
      const steps = formatDuration(this.stepSeconds);
      logger.info(`Overall training speed: ${this.timedSteps} iterations in ${steps} (${perStep} s / it)`);
    }
    const hooks = formatDuration(total - this.stepSeconds);
    logger.info(`Total training time: ${formatDuration(total)} (${hooks} on hooks)`);
  }
}
