import type { EndlessSampler, SamplerState } from './samplers/sampler.js';

/** Which pictures make up each batch: dataset indices, batch after batch. */
export interface BatchSource {
  /** Indices of the next batch; undefined at the end of a finite source. */
  next(): number[] | undefined;
  /** Whether a new pass begins with each new iteration. */
  readonly finite: boolean;
  /** Begins the next pass of a finite source; leaves an endless one where it is. */
  rewind(): void;
  state(): BatchSourceState;
  loadState(state: BatchSourceState): void;
}

/** Position of a source, as plain data. */
export type BatchSourceState = SamplerState | { position: number };

/** Endless batches of `batchSize` pictures from a sampler. */
export class EndlessBatches implements BatchSource {
  readonly finite = false;
  readonly #sampler: EndlessSampler;
  readonly #batchSize: number;

  constructor(sampler: EndlessSampler, batchSize: number) {
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new RangeError(`a process needs at least one picture in a batch, got ${batchSize}`);
    }
    this.#sampler = sampler;
    this.#batchSize = batchSize;
  }

  next(): number[] {
    return Array.from({ length: this.#batchSize }, () => this.#sampler.next());
  }

  rewind(): void {}

  state(): BatchSourceState {
    return this.#sampler.state();
  }

  loadState(state: BatchSourceState): void {
    if (!('rng' in state))
      throw new TypeError('this is the state of a test loader, not of a training loader');
    this.#sampler.loadState(state);
  }
}

/** The given indices once, in order, `batchSize` at a time; the last batch may be smaller. */
export class FiniteBatches implements BatchSource {
  readonly finite = true;
  readonly #indices: readonly number[];
  readonly #batchSize: number;
  #position = 0;

  constructor(indices: Iterable<number>, batchSize: number) {
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new RangeError(`a process needs at least one picture in a batch, got ${batchSize}`);
    }
    this.#indices = [...indices];
    this.#batchSize = batchSize;
  }

  /** Number of batches in a pass. */
  get length(): number {
    return Math.ceil(this.#indices.length / this.#batchSize);
  }

  next(): number[] | undefined {
    if (this.#position >= this.#indices.length) return undefined;
    const batch = this.#indices.slice(this.#position, this.#position + this.#batchSize);
    this.#position += this.#batchSize;
    return batch;
  }

  rewind(): void {
    this.#position = 0;
  }

  state(): BatchSourceState {
    return { position: this.#position };
  }

  loadState({ position }: BatchSourceState): void {
    this.#position = position;
  }
}
