import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { RecordedSteps, type RecordOptions, type StepTensors } from './recorded-steps.js';
import { TrainerBase } from './train-loop.js';

/** Scalar losses by name, as a model in training mode returns them. */
export type LossDict = Record<string, Tensor>;

/** What the trainer needs of a model: losses for a batch while it is in training mode. */
export interface TrainableModel<B> {
  readonly training: boolean;
  train(mode?: boolean): unknown;
  call(batch: B): LossDict | Tensor;
  /** Figures of the last step besides its losses (accuracy); they go to the storage too. */
  readonly metrics?: Record<string, number>;
  /** The same as scalar tensors of their own, which are preferred, and the only ones where steps are recorded. */
  metricTensors?(): Record<string, Tensor>;
}

/** What the trainer needs of an optimizer. Clip or scale gradients by wrapping `step`. */
export interface StepOptimizer {
  zeroGrad(): void;
  step(): void;
}

/** What a step is reported by: values of the losses, and seconds waited for data. */
export interface StepFigures {
  losses: Record<string, number>;
  dataTime: number;
}

/** Raised when a loss is infinite or not a number; the weights are as before the step. */
export class NonFiniteLossError extends Error {
  override readonly name = 'NonFiniteLossError';
}

/**
 * The common case: one model, one optimizer, one source of batches. A step takes a batch, computes the losses,
 * their sum, its gradients, and lets the optimizer step. For anything else, subclass `TrainerBase`, or write the
 * loop yourself (`examples/plain_training_loop.ts`).
 *
 * Everything between batch and optimizer step is synchronous and runs in one `torch.scope`, so that a step's
 * intermediates are gone when the next begins.
 */
export class SimpleTrainer<B = unknown> extends TrainerBase {
  readonly model: TrainableModel<B>;
  readonly dataLoader: AsyncIterable<B> | Iterable<B>;
  readonly optimizer: StepOptimizer;
  /** Of several processes: makes each one's losses and waiting time those of all. */
  share?: (losses: Record<string, number>, dataTime: number) => StepFigures;
  #batches: AsyncIterator<B> | Iterator<B> | undefined;
  #recording: { step(batch: B): StepTensors } | undefined;
  /** Of the last step, where the model gives tensors. */
  #metrics: Record<string, number> = {};

  /** Puts the model into training mode. */
  constructor(
    model: TrainableModel<B>,
    dataLoader: AsyncIterable<B> | Iterable<B>,
    optimizer: StepOptimizer,
  ) {
    super();
    model.train();
    this.model = model;
    this.dataLoader = dataLoader;
    this.optimizer = optimizer;
  }

  override async runStep(): Promise<void> {
    if (!this.model.training) {
      throw new Error('SimpleTrainer: the model is in eval mode; call model.train() where it was changed');
    }
    const start = performance.now();
    const batch = await this.nextBatch();
    const dataTime = (performance.now() - start) / 1000;
    try {
      const losses = torch.scope(() => this.optimize(batch));
      const figures = this.share?.(losses, dataTime) ?? { losses, dataTime };
      this.writeMetrics(figures.losses, figures.dataTime);
    } finally {
      disposeBatch(batch);
    }
  }

  /**
   * From here on steps are recorded in a CUDA graph and launched at once. Hooks cannot look at gradients then, and
   * forward hooks of the model run while a step is recorded only.
   *
   * @throws when the optimizer cannot be recorded
   */
  recordSteps(options: RecordOptions): void {
    this.#recording = new RecordedSteps(this, (batch) => this.stepOn(batch), options);
  }

  /** Forward, backward and optimizer step; returns the values of the losses. */
  protected optimize(batch: B): Record<string, number> {
    // Last step's gradients go before forward, not after: their memory is forward's.
    if (!this.#recording) this.optimizer.zeroGrad();
    const tensors = this.#recording?.step(batch) ?? this.stepOn(batch);
    // Read here alone: on a GPU, reading waits for everything before it.
    const { losses, metrics, watched } = numbersOf({ ...tensors });
    this.#metrics = metrics;
    this.checkFinite(losses);
    this.look(watched);
    return losses;
  }

  /** A step but for the zeroing of gradients. On a GPU nothing waits for it, unless hooks look at gradients. */
  protected stepOn(batch: B): StepTensors {
    const { losses, total } = this.computeLosses(batch);
    this.backward(total);
    if (this.hooks.some((hook) => hook.watchesBackward)) {
      this.checkFinite(numbersOf({ losses }).losses);
    }
    this.afterBackward();
    this.stepUnlessBroken(total);
    return { losses, metrics: this.model.metricTensors?.() ?? {}, watched: this.watched() };
  }

  /** Lets the optimizer step, unless the loss is infinite or not a number, which `checkFinite` tells later. */
  private stepUnlessBroken(total: Tensor): void {
    const { optimizer } = this;
    if (!(optimizer instanceof torch.optim.Optimizer)) {
      if (Number.isFinite(Number(total.item()))) this.step();
      return;
    }
    optimizer.foundInf = total.detach().isfinite().logical_not().to(torch.float32);
    try {
      this.step();
    } finally {
      optimizer.foundInf = null;
    }
  }

  /** Scalars to look at once the step is done, by name. */
  protected watched(): Record<string, Tensor> {
    return {};
  }

  /** Gets the values of what is `watched`. */
  protected look(_watched: Record<string, number>): void {}

  /** The losses of a batch by name, and their sum. */
  protected computeLosses(batch: B): { losses: LossDict; total: Tensor } {
    const result = this.model.call(batch);
    const losses = result instanceof torch.Tensor ? { loss: result } : result;
    const terms = Object.values(losses);
    if (terms.length === 0) throw new Error('SimpleTrainer: the model returned no losses');
    let total = terms[0];
    for (const term of terms.slice(1)) total = total.add(term);
    return { losses, total };
  }

  /** Computes the gradients. */
  protected backward(total: Tensor): void {
    total.backward();
  }

  /** Lets the optimizer step. */
  protected step(): void {
    this.optimizer.step();
  }

  private checkFinite(losses: Record<string, number>): void {
    const bad = Object.entries(losses).filter(([, v]) => !Number.isFinite(v));
    if (bad.length === 0) return;
    const all = Object.entries(losses).map(([k, v]) => `${k} = ${v}`);
    throw new NonFiniteLossError(
      `${bad.map(([k, v]) => `${k} is ${v}`).join(', ')} at iteration ${this.iter} (${all.join(', ')}). The weights ` +
        'are as they were before this step. Usual cures: a lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_ITERS, ' +
        'SOLVER.CLIP_GRADIENTS.ENABLED True; then --resume from the last checkpoint or start anew.',
    );
  }

  protected writeMetrics(losses: Record<string, number>, dataTime: number): void {
    this.storage.putScalar('data_time', dataTime);
    const values = Object.values(losses);
    this.storage.putScalar(
      'total_loss',
      values.reduce((a, b) => a + b, 0),
    );
    if (values.length > 1) this.storage.putScalars(losses);
    const given = this.#recording !== undefined || this.model.metricTensors !== undefined;
    const metrics = given ? this.#metrics : this.model.metrics;
    if (metrics) this.storage.putScalars(metrics);
  }

  /** The next batch; an iterator that ends is begun anew. */
  protected async nextBatch(): Promise<B> {
    for (let attempt = 0; attempt < 2; attempt++) {
      this.#batches ??= iterate(this.dataLoader);
      const { done, value } = await this.#batches.next();
      if (!done) return value;
      this.#batches = undefined;
    }
    throw new Error('SimpleTrainer: the data loader is empty');
  }

  /** Lets the loader stop what it is preparing. */
  async close(): Promise<void> {
    await this.#batches?.return?.(undefined);
    this.#batches = undefined;
  }
}

/** The values of named scalars, in groups, brought to JavaScript together. */
function numbersOf<K extends string>(
  groups: Record<K, Record<string, Tensor>>,
): Record<K, Record<string, number>> {
  const all = Object.values<Record<string, Tensor>>(groups).flatMap((group) => Object.values(group));
  const { device } = all[0];
  const alike = all.map((one) => one.detach().reshape([1]).to({ device, dtype: torch.float64 }));
  const values = (torch.cat(alike).tolist() as number[]).values();
  const read = (group: Record<string, Tensor>): Record<string, number> =>
    Object.fromEntries(Object.keys(group).map((name) => [name, values.next().value as number]));
  const entries = Object.entries<Record<string, Tensor>>(groups).map(([key, group]) => [key, read(group)]);
  return Object.fromEntries(entries) as Record<K, Record<string, number>>;
}

function iterate<B>(loader: AsyncIterable<B> | Iterable<B>): AsyncIterator<B> | Iterator<B> {
  return Symbol.asyncIterator in loader ? loader[Symbol.asyncIterator]() : loader[Symbol.iterator]();
}

/**
 * Frees a loader's batch now, not at some later collection: its tensors live outside of every scope. Plain tensors
 * are left alone, as whoever made them may use them again.
 */
export function disposeBatch(batch: unknown): void {
  if (batch instanceof torch.Tensor) return;
  const dispose = (batch as { dispose?: unknown } | null)?.dispose;
  if (typeof dispose === 'function') dispose.call(batch);
}
