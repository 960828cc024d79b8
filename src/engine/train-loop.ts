import { logger } from '../logger.js';
import { EventStorage, withEventStorage } from './events.js';

/** What a hook's `stateDict` may hold: whatever a checkpoint can. */
export type HookState = Record<string, unknown>;

/**
 * Something that happens around training steps. A hook implements any of these methods; they are called in this
 * order, and within each line in the order in which the hooks were registered:
 *
 * ```ts
 * try {
 *   await hook.beforeTrain();
 *   for (; epoch < maxEpoch; epoch++) {
 *     await hook.beforeEpoch();
 *     for (; iterInEpoch < itersPerEpoch; iterInEpoch++) {
 *       await hook.beforeStep();
 *       // runStep(): batch, forward, losses, backward
 *       hook.afterBackward();            // synchronous: gradients are there, weights not yet changed
 *       // runStep(): optimizer step
 *       await hook.afterStep();
 *     }                                  // a requested stop leaves the loop here, without afterEpoch
 *     await hook.afterEpoch();
 *   }
 * } finally {
 *   await hook.afterTrain();             // also after an error and after a stop: see `trainer.outcome`
 * }
 * ```
 *
 * A run resumed in mid-epoch calls `beforeEpoch` again. During `beforeStep`, `afterBackward` and `afterStep`,
 * `trainer.iter` is the number of the iteration, counted from 0 over all epochs; in `afterEpoch` and `afterTrain`
 * it is the number of finished iterations. `beforeStep` should take next to no time: step times include it.
 *
 * `stateDict` and `loadStateDict` make a hook survive a checkpoint; `name` is the key its state is kept under.
 */
export abstract class HookBase {
  /** The trainer; set when the hook is registered. */
  trainer!: TrainerBase;

  /** Key of this hook's state in checkpoints. */
  get name(): string {
    return this.constructor.name;
  }

  beforeTrain(): void | Promise<void> {}
  afterTrain(): void | Promise<void> {}
  beforeEpoch(): void | Promise<void> {}
  afterEpoch(): void | Promise<void> {}
  beforeStep(): void | Promise<void> {}
  afterBackward(): void {}
  afterStep(): void | Promise<void> {}

  /** Whether it does something in `afterBackward`, which a step recorded in a CUDA graph has no room for. */
  get watchesBackward(): boolean {
    return this.afterBackward !== HookBase.prototype.afterBackward;
  }

  /** State to keep in checkpoints, or null when there is none. */
  stateDict(): HookState | null {
    return null;
  }

  loadStateDict(_state: HookState): void {}
}

/**
 * Where training is: `running`, and after it `finished` (all epochs done), `stopped` (asked to, in time for a
 * checkpoint) or `failed` (an error is on its way).
 */
export type Outcome = 'idle' | 'running' | 'finished' | 'stopped' | 'failed';

export interface Schedule {
  /** Epoch to begin with. Default 0. */
  startEpoch?: number;
  /** Finished iterations of that epoch; `itersPerEpoch` when only its `afterEpoch` is left. Default 0. */
  startIterInEpoch?: number;
  /** Epoch to end before. */
  maxEpoch: number;
  itersPerEpoch: number;
}

type HookEvent = 'beforeTrain' | 'beforeEpoch' | 'afterEpoch' | 'beforeStep' | 'afterStep';

/**
 * A loop with hooks. It assumes nothing but a loop: a subclass says in `runStep` what a step is. Between steps the
 * event loop gets its turn, so signals, timers, progress bars and data loaders live.
 */
export abstract class TrainerBase {
  readonly hooks: HookBase[] = [];
  iter = 0;
  startIter = 0;
  epoch = 0;
  /** Finished iterations of the current epoch. */
  iterInEpoch = 0;
  itersPerEpoch = 0;
  maxEpoch = 0;
  outcome: Outcome = 'idle';
  storage = new EventStorage(0);
  #stopReason: string | undefined;

  /** `itersPerEpoch × maxEpoch`. */
  get maxIter(): number {
    return this.maxEpoch * this.itersPerEpoch;
  }

  /** Adds hooks behind those already there; null entries are skipped. */
  registerHooks(hooks: Iterable<HookBase | null | undefined>): void {
    for (const hook of hooks) {
      if (!hook) continue;
      hook.trainer = this;
      this.hooks.push(hook);
    }
  }

  /** One training step. Calls `this.afterBackward()` once gradients exist, when there are any. */
  protected abstract runStep(): void | Promise<void>;

  /** What the loss is multiplied by before backward, and so the gradients that hooks of tensors see. */
  get lossScale(): number {
    return 1;
  }

  /** Leaves the loop after the step in progress. Returns false when that was already asked for. */
  requestStop(reason: string): boolean {
    if (this.#stopReason !== undefined) return false;
    this.#stopReason = reason;
    return true;
  }

  /** Why a stop was requested, if it was. */
  get stopReason(): string | undefined {
    return this.#stopReason;
  }

  /** Runs the loop; the order of events is `HookBase`'s. */
  async trainLoop(schedule: Schedule): Promise<void> {
    const { startEpoch = 0, startIterInEpoch = 0, maxEpoch, itersPerEpoch } = schedule;
    this.maxEpoch = maxEpoch;
    this.itersPerEpoch = itersPerEpoch;
    this.epoch = startEpoch;
    this.iterInEpoch = startIterInEpoch;
    this.startIter = startEpoch * itersPerEpoch + startIterInEpoch;
    this.iter = this.startIter;
    // Where only afterEpoch is left, its results belong to the iteration that has been done.
    this.storage.iter = startIterInEpoch < itersPerEpoch ? this.iter : this.iter - 1;
    this.storage.epoch = this.epoch;
    // A stop asked for before the loop began still counts; that of an earlier run does not.
    if (this.outcome === 'stopped') this.#stopReason = undefined;
    this.outcome = 'running';
    logger.info(
      `Starting training from epoch ${startEpoch}${startIterInEpoch ? `, iteration ${this.iter}` : ''}`,
    );
    await withEventStorage(this.storage, () => this.#run());
  }

  async #run(): Promise<void> {
    let failure: { error: unknown } | undefined;
    try {
      await this.callHooks('beforeTrain');
      await this.#epochs();
      this.outcome = this.epoch >= this.maxEpoch ? 'finished' : 'stopped';
    } catch (error) {
      this.outcome = 'failed';
      failure = { error };
      logger.detail(`Training failed: ${error instanceof Error ? error.stack : String(error)}`);
    }
    for (const hook of this.hooks) {
      try {
        await hook.afterTrain();
      } catch (error) {
        // The first error is the cause; the others are said, and every hook gets to close what it opened.
        if (failure) logger.error(`${hook.name}.afterTrain failed as well: ${messageOf(error)}`);
        else failure = { error };
        this.outcome = 'failed';
      }
    }
    if (failure) throw failure.error;
  }

  async #epochs(): Promise<void> {
    for (; this.epoch < this.maxEpoch; this.epoch++, this.iterInEpoch = 0) {
      this.storage.epoch = this.epoch;
      await this.callHooks('beforeEpoch');
      while (this.iterInEpoch < this.itersPerEpoch) {
        if (this.#stopReason !== undefined) return;
        this.storage.iter = this.iter;
        await this.callHooks('beforeStep');
        await this.runStep();
        await this.callHooks('afterStep');
        this.iter++;
        this.iterInEpoch++;
        await turn();
      }
      if (this.#stopReason !== undefined) return;
      await this.callHooks('afterEpoch');
    }
  }

  /** Calls one method of every hook, in order. */
  protected async callHooks(event: HookEvent): Promise<void> {
    for (const hook of this.hooks) {
      const done = hook[event]();
      if (done instanceof Promise) await done;
    }
  }

  /** To be called by `runStep` between backward and the optimizer's step. */
  afterBackward(): void {
    for (const hook of this.hooks) hook.afterBackward();
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** One turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
