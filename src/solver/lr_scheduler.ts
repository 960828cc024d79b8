/** What a schedule reads and writes of an optimizer. */
export interface Schedulable {
  readonly paramGroups: { lr: number; initial_lr?: number }[];
}

/** A scheduler's state as PyTorch writes it, and as a loaded checkpoint gives it back. */
export type SchedulerState = Record<string, unknown> | ReadonlyMap<unknown, unknown>;

/**
 * Base of the learning rate schedules, with the state dict of `torch.optim.lr_scheduler.LRScheduler`: a rate is
 * computed from the one before it, so two schedules may take turns on one optimizer.
 *
 * A subclass sets its own fields, then calls `start()` at the end of its constructor.
 */
export abstract class LRScheduler {
  readonly optimizer: Schedulable;
  /** Learning rates of the parameter groups before any schedule. */
  baseLrs: number[];
  /** Number of calls of `step`. The name is PyTorch's; the warm-up counts iterations. */
  lastEpoch = -1;
  lastLr: number[];

  constructor(optimizer: Schedulable) {
    this.optimizer = optimizer;
    for (const group of optimizer.paramGroups) group.initial_lr ??= group.lr;
    this.baseLrs = optimizer.paramGroups.map((group) => group.initial_lr ?? group.lr);
    this.lastLr = optimizer.paramGroups.map((group) => group.lr);
  }

  /** The rate of each group at `lastEpoch`. */
  protected abstract rates(): number[];

  /** Own settings in the state dict, by PyTorch's names. */
  protected abstract settings(): Record<string, unknown>;

  /** Takes own settings from a state dict; `get` gives undefined for what it lacks. */
  protected abstract restore(get: (key: string) => unknown): void;

  protected start(): void {
    this.step();
  }

  /** Moves on by one and sets the optimizer's learning rates. */
  step(): void {
    this.lastEpoch++;
    const rates = this.rates();
    this.optimizer.paramGroups.forEach((group, i) => {
      group.lr = rates[i];
    });
    this.lastLr = rates;
  }

  stateDict(): Record<string, unknown> {
    return {
      ...this.settings(),
      base_lrs: [...this.baseLrs],
      last_epoch: this.lastEpoch,
      _step_count: this.lastEpoch + 1,
      _is_initial: false,
      _get_lr_called_within_step: false,
      _last_lr: [...this.lastLr],
    };
  }

  /**
   * Goes on where `state` was taken. The optimizer's rates are part of its own state and stay as they are.
   *
   * @throws when `state` is no scheduler's state or has another number of parameter groups
   */
  loadStateDict(state: SchedulerState): void {
    const get = (key: string): unknown =>
      state instanceof Map ? state.get(key) : (state as Record<string, unknown>)[key];
    const lastEpoch = Number(get('last_epoch'));
    const baseLrs = numbers(get('base_lrs'));
    if (!Number.isInteger(lastEpoch) || baseLrs === undefined) {
      throw new Error(
        `${this.constructor.name}: not the state of a scheduler, it lacks last_epoch or base_lrs`,
      );
    }
    const groups = this.optimizer.paramGroups.length;
    if (baseLrs.length !== groups) {
      throw new Error(
        `${this.constructor.name}: the state has ${baseLrs.length} parameter groups, the optimizer ${groups}; ` +
          'was it saved with other learning rate factors or weight decays?',
      );
    }
    this.baseLrs = baseLrs;
    this.lastEpoch = lastEpoch;
    this.lastLr = numbers(get('_last_lr')) ?? this.lastLr;
    this.restore(get);
  }
}

function numbers(value: unknown): number[] | undefined {
  return Array.isArray(value) ? value.map(Number) : undefined;
}

function numberOr(value: unknown, fallback: number): number {
  return value === undefined ? fallback : Number(value);
}

export interface MultiStepOptions {
  /** Values of `lastEpoch` at which the rate drops; one that is there twice counts twice. */
  milestones: readonly number[];
  /** Factor of each drop. */
  gamma: number;
}

/** The rate is multiplied by `gamma` at each milestone. */
export class MultiStepLR extends LRScheduler {
  #milestones: Map<number, number>;
  #gamma: number;

  constructor(optimizer: Schedulable, { milestones, gamma }: MultiStepOptions) {
    super(optimizer);
    this.#milestones = new Map();
    for (const step of milestones) this.#milestones.set(step, (this.#milestones.get(step) ?? 0) + 1);
    this.#gamma = gamma;
    this.start();
  }

  protected override rates(): number[] {
    const drops = this.#milestones.get(this.lastEpoch) ?? 0;
    return this.optimizer.paramGroups.map(({ lr }) => (drops === 0 ? lr : lr * this.#gamma ** drops));
  }

  protected override settings(): Record<string, unknown> {
    return { milestones: new Map(this.#milestones), gamma: this.#gamma };
  }

  protected override restore(get: (key: string) => unknown): void {
    const milestones = get('milestones');
    if (milestones instanceof Map) {
      this.#milestones = new Map([...milestones].map(([step, count]) => [Number(step), Number(count)]));
    }
    this.#gamma = numberOr(get('gamma'), this.#gamma);
  }
}

export interface CosineOptions {
  /** Number of steps from the base rate to the lowest. */
  tMax: number;
  /** The lowest rate. */
  etaMin: number;
}

/** Half a cosine wave from the base rate down to `etaMin` (Loshchilov & Hutter 2017); past `tMax` it climbs again. */
export class CosineAnnealingLR extends LRScheduler {
  #tMax: number;
  #etaMin: number;

  constructor(optimizer: Schedulable, { tMax, etaMin }: CosineOptions) {
    super(optimizer);
    this.#tMax = tMax;
    this.#etaMin = etaMin;
    this.start();
  }

  protected override rates(): number[] {
    const { lastEpoch: step, baseLrs } = this;
    const tMax = this.#tMax;
    const etaMin = this.#etaMin;
    const groups = this.optimizer.paramGroups;
    if (step === 0) return groups.map(({ lr }) => lr);
    if ((step - 1 - tMax) % (2 * tMax) === 0) {
      // At the bottom the ratio below would divide by zero.
      const climb = 1 - Math.cos(Math.PI / tMax);
      return groups.map(({ lr }, i) => lr + ((baseLrs[i] - etaMin) * climb) / 2);
    }
    const ratio = (1 + Math.cos((Math.PI * step) / tMax)) / (1 + Math.cos((Math.PI * (step - 1)) / tMax));
    return groups.map(({ lr }) => ratio * (lr - etaMin) + etaMin);
  }

  protected override settings(): Record<string, unknown> {
    return { T_max: this.#tMax, eta_min: this.#etaMin };
  }

  protected override restore(get: (key: string) => unknown): void {
    this.#tMax = numberOr(get('T_max'), this.#tMax);
    this.#etaMin = numberOr(get('eta_min'), this.#etaMin);
  }
}

export interface WarmupOptions {
  /** First rate, as a multiple of the base rate. */
  factor: number;
  /** Number of iterations after which the base rate is reached. */
  iterations: number;
  /** How the rate grows: not at all until the end, evenly, or by a constant factor. */
  method: 'constant' | 'linear' | 'exp';
}

/** Rises from `factor` times the base rate to the base rate; stepped once an iteration. */
export class WarmupLR extends LRScheduler {
  #options: WarmupOptions;

  constructor(optimizer: Schedulable, options: WarmupOptions) {
    super(optimizer);
    this.#options = options;
    this.start();
  }

  protected override rates(): number[] {
    const factor = this.#factor();
    return this.baseLrs.map((lr) => lr * factor);
  }

  #factor(): number {
    const { factor, iterations, method } = this.#options;
    const progress = this.lastEpoch / iterations;
    if (progress >= 1) return 1;
    if (method === 'constant') return factor;
    return method === 'linear' ? factor * (1 - progress) + progress : factor ** (1 - progress);
  }

  protected override settings(): Record<string, unknown> {
    const { factor, iterations, method } = this.#options;
    return { warmup_factor: factor, warmup_iters: iterations, warmup_method: method };
  }

  protected override restore(get: (key: string) => unknown): void {
    const { factor, iterations, method } = this.#options;
    this.#options = {
      factor: numberOr(get('warmup_factor'), factor),
      iterations: numberOr(get('warmup_iters'), iterations),
      method: (get('warmup_method') as WarmupOptions['method'] | undefined) ?? method,
    };
  }
}
