import { type Histogram, packHistogram, readHistogram } from '../torch/histogram.js';
import { scope, Tensor, uint8 } from '../torch/index.js';

/** A picture: 8-bit grey or RGB, row by row. */
export interface Picture {
  width: number;
  height: number;
  channels: 1 | 3;
  data: Uint8Array;
}

/** What a `ScalarHistory` needs to go on where another one ended. */
export interface HistoryState {
  values: number[];
  iterations: number[];
  count: number;
  globalAvg: number;
}

/** The latest values of one scalar, with the means and medians that reports are made of. */
export class ScalarHistory {
  private values: number[] = [];
  private iterations: number[] = [];
  private count = 0;
  private mean = 0;
  private readonly maxLength: number;

  constructor(maxLength = 10_000) {
    this.maxLength = maxLength;
  }

  update(value: number, iteration: number): void {
    this.values.push(value);
    this.iterations.push(iteration);
    // Cut in halves, so that a long run does not shift the array at each step.
    if (this.values.length > 2 * this.maxLength) {
      this.values = this.values.slice(-this.maxLength);
      this.iterations = this.iterations.slice(-this.maxLength);
    }
    this.count++;
    this.mean += (value - this.mean) / this.count;
  }

  latest(): number {
    return this.values[this.values.length - 1];
  }

  latestIteration(): number {
    return this.iterations[this.iterations.length - 1];
  }

  /** Mean of the last `window` values. */
  avg(window: number): number {
    const xs = this.values.slice(-window);
    return xs.reduce((a, b) => a + b, 0) / xs.length;
  }

  /** Median of the last `window` values (the mean of the middle two when their number is even). */
  median(window: number): number {
    const xs = this.values.slice(-window).sort((a, b) => a - b);
    const mid = xs.length >> 1;
    return xs.length % 2 === 1 ? xs[mid] : (xs[mid - 1] + xs[mid]) / 2;
  }

  /** Mean of all values ever put, those no longer held included. */
  globalAvg(): number {
    return this.mean;
  }

  /** Mean or maximum of the values of iteration `start` and later, of the last value where there are none. */
  since(start: number, kind: 'mean' | 'max'): number {
    const first = this.iterations.findIndex((iteration) => iteration >= start);
    const xs = this.values.slice(first);
    return kind === 'max' ? Math.max(...xs) : xs.reduce((a, b) => a + b, 0) / xs.length;
  }

  /** Held values with their iterations, oldest first. */
  entries(): [value: number, iteration: number][] {
    return this.values.map((v, i) => [v, this.iterations[i]]);
  }

  /** The last `window` values and the running mean. */
  state(window: number): HistoryState {
    return {
      values: this.values.slice(-window),
      iterations: this.iterations.slice(-window),
      count: this.count,
      globalAvg: this.mean,
    };
  }

  loadState(state: HistoryState): void {
    this.values = [...state.values];
    this.iterations = [...state.iterations];
    this.count = state.count;
    this.mean = state.globalAvg;
  }
}

/** How many values of each scalar a checkpoint keeps: the widest window that the writers smooth over. */
const STATE_WINDOW = 200;

/**
 * What writers show of a scalar: `true`, the median of recent values, `false`, the last value itself, as of a learning
 * rate or a test result; or `mean` or `max` of those put since the writers last wrote, for what is not put at every
 * iteration, or what must not be missed.
 */
export type Smoothing = boolean | 'mean' | 'max';

export interface EventStorageState {
  [name: string]: HistoryState & { smoothing: Smoothing };
}

/**
 * Scalars of a run, put by whoever computes them, read by writers that know nothing of where they came from.
 * The trainer sets `iter` and `epoch`; whatever is put is filed under the current iteration.
 */
export class EventStorage {
  iter: number;
  epoch = 0;
  private readonly scalars = new Map<string, ScalarHistory>();
  private readonly smoothing = new Map<string, Smoothing>();
  /** The first iteration of which the writers have not written. */
  windowStart: number;
  #histograms: { name: string; iteration: number; histogram: Histogram }[] = [];
  #pictures: { name: string; iteration: number; picture: Picture }[] = [];

  constructor(startIter = 0) {
    this.iter = startIter;
    this.windowStart = startIter;
  }

  /**
   * Files `value` under `name` and the current iteration.
   *
   * @param options.smoothing what writers show. Default: a median. One name keeps one answer; another throws.
   */
  putScalar(name: string, value: number, { smoothing = true }: { smoothing?: Smoothing } = {}): void {
    const before = this.smoothing.get(name);
    if (before !== undefined && before !== smoothing) {
      throw new Error(`scalar '${name}' was put with smoothing ${before} before, now with ${smoothing}`);
    }
    this.smoothing.set(name, smoothing);
    let history = this.scalars.get(name);
    if (!history) {
      history = new ScalarHistory();
      this.scalars.set(name, history);
    }
    history.update(value, this.iter);
  }

  putScalars(values: Record<string, number>, options: { smoothing?: Smoothing } = {}): void {
    for (const [name, value] of Object.entries(values)) this.putScalar(name, value, options);
  }

  /** Files how values are spread: those of a tensor, counted in 64 bins, or a histogram made elsewhere. */
  putHistogram(name: string, values: Tensor | Histogram): void {
    const histogram = values instanceof Tensor ? scope(() => readHistogram(packHistogram(values))) : values;
    this.#histograms.push({ name, iteration: this.iter, histogram });
  }

  /**
   * Files a picture.
   *
   * @param image uint8 [3 or 1, height, width] of RGB or grey, or a float tensor of the same shape from 0 to 1
   */
  putImage(name: string, image: Tensor | Picture): void {
    const picture = image instanceof Tensor ? pictureOf(image) : image;
    this.#pictures.push({ name, iteration: this.iter, picture });
  }

  /** Histograms and pictures are held until {@link written}, for writers to take. */
  histograms(): readonly { name: string; iteration: number; histogram: Histogram }[] {
    return this.#histograms;
  }

  pictures(): readonly { name: string; iteration: number; picture: Picture }[] {
    return this.#pictures;
  }

  /** To be called once all writers have written: lets go of histograms and pictures, and begins a new window. */
  written(): void {
    this.#histograms = [];
    this.#pictures = [];
    this.windowStart = this.iter + 1;
  }

  /** Throws when nothing was ever put under `name`. */
  history(name: string): ScalarHistory {
    const history = this.scalars.get(name);
    if (!history) throw new Error(`no scalar named '${name}' was put into the event storage`);
    return history;
  }

  has(name: string): boolean {
    return this.scalars.has(name);
  }

  /** All histories, in the order in which the names first came. */
  histories(): ReadonlyMap<string, ScalarHistory> {
    return this.scalars;
  }

  /** Latest value of each scalar and the iteration it was put at. */
  latest(): Map<string, [value: number, iteration: number]> {
    return new Map([...this.scalars].map(([k, h]) => [k, [h.latest(), h.latestIteration()]]));
  }

  /** As `latest`, with scalars that ask for smoothing smoothed: a median is that of `window` values. */
  latestWithSmoothing(window = 20): Map<string, [value: number, iteration: number]> {
    return new Map(
      [...this.scalars].map(([k, h]) => [k, [this.#smoothed(k, h, window), h.latestIteration()]]),
    );
  }

  #smoothed(name: string, history: ScalarHistory, window: number): number {
    const smoothing = this.smoothing.get(name);
    if (typeof smoothing === 'string') return history.since(this.windowStart, smoothing);
    return smoothing ? history.median(window) : history.latest();
  }

  /** Recent values of every scalar, so that a resumed run smooths over the same values. */
  stateDict(): EventStorageState {
    const state: EventStorageState = {};
    for (const [name, history] of this.scalars) {
      state[name] = { ...history.state(STATE_WINDOW), smoothing: this.smoothing.get(name) ?? true };
    }
    return state;
  }

  loadStateDict(state: EventStorageState): void {
    for (const [name, { smoothing, ...history }] of Object.entries(state)) {
      const scalar = new ScalarHistory();
      scalar.loadState(history);
      this.scalars.set(name, scalar);
      this.smoothing.set(name, smoothing);
    }
  }
}

/** The bytes of an image tensor: uint8, or floating from 0 to 1, [1 or 3, height, width]. */
export function pictureOf(image: Tensor): Picture {
  const [channels, height, width] = image.shape;
  if (image.shape.length !== 3 || (channels !== 1 && channels !== 3)) {
    throw new RangeError(`a picture is [3 or 1, height, width], not [${image.shape.join(', ')}]`);
  }
  const data = scope(() => {
    const bytes = image.dtype === uint8 ? image : image.detach().mul(255).round().clamp(0, 255).to(uint8);
    return bytes.permute([1, 2, 0]).contiguous().cpu().toTypedArray() as Uint8Array;
  });
  return { width, height, channels, data };
}

const open: EventStorage[] = [];

/** The storage of the training run in progress. Throws outside of one. */
export function getEventStorage(): EventStorage {
  const storage = open[open.length - 1];
  if (!storage) {
    throw new Error(
      'getEventStorage: no storage is open; it exists only while a trainer runs (withEventStorage)',
    );
  }
  return storage;
}

/** Makes `storage` the one that `getEventStorage` finds until `fn`, which may be asynchronous, is done. */
export async function withEventStorage<T>(storage: EventStorage, fn: () => T | Promise<T>): Promise<T> {
  open.push(storage);
  try {
    return await fn();
  } finally {
    open.splice(open.lastIndexOf(storage), 1);
  }
}

/** Takes what a storage holds and puts it somewhere: a terminal, a file. */
export interface EventWriter {
  write(): void | Promise<void>;
  close(): void;
}
