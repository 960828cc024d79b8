import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/**
 * Rows that come in batches, in one matrix from the start, so that they need not be put together at the end, when
 * they would be there twice.
 */
export class CollectedRows {
  #matrix: Tensor | undefined;
  #count = 0;
  readonly #expected: number;

  /** @param expected how many will come, if that is known; else the matrix grows, by half of what it has */
  constructor(expected = 0) {
    this.#expected = expected;
  }

  /** Copies [batch, dim], as float32, on the device of the first batch. */
  add(batch: Tensor): void {
    const [rows, dim] = batch.shape;
    const needed = this.#count + rows;
    if (this.#matrix === undefined || needed > this.#matrix.shape[0]) {
      const room = Math.max(needed, this.#expected, Math.ceil(1.5 * this.#count));
      const before = this.#matrix;
      torch.scope(() => {
        const larger = torch.empty([room, dim], { device: before?.device ?? batch.device });
        if (before !== undefined) larger.narrow(0, 0, this.#count).copy_(before.narrow(0, 0, this.#count));
        this.#matrix = larger.keep();
      });
      before?.dispose();
    }
    torch.scope(() => this.#matrix!.narrow(0, this.#count, rows).copy_(batch));
    this.#count = needed;
  }

  /** [rows, dim] float32, a view. @throws Error when nothing came */
  all(): Tensor {
    if (this.#matrix === undefined) throw new Error('no rows were collected');
    return this.#matrix.narrow(0, 0, this.#count);
  }

  dispose(): void {
    this.#matrix?.dispose();
    this.#matrix = undefined;
    this.#count = 0;
  }
}
