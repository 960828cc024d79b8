import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import type { InplaceOptions } from './activation.js';
import { Module } from './module.js';
import { pyValue } from './printing.js';

/** While training, zeroes every element with probability `p` and scales the rest by 1 / (1 − p). */
export class Dropout extends Module {
  readonly p: number;
  readonly inplace: boolean;

  constructor(p = 0.5, { inplace = false }: InplaceOptions = {}) {
    super();
    if (!(p >= 0 && p <= 1)) throw new RangeError(`Dropout: probability must be between 0 and 1, got ${p}`);
    this.p = p;
    this.inplace = inplace;
  }

  protected forward(input: Tensor): Tensor {
    return this.inplace
      ? aten.dropout_(input, this.p, this.training)
      : aten.dropout(input, this.p, this.training);
  }

  override extraRepr(): string {
    return `p=${this.p}, inplace=${pyValue(this.inplace)}`;
  }
}
