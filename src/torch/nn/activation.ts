import type { Tensor } from '../tensor.js';
import { Module } from './module.js';

export interface InplaceOptions {
  /** Overwrite the input instead of making a new tensor (default false). */
  inplace?: boolean;
}

/** max(x, 0) */
export class ReLU extends Module {
  readonly inplace: boolean;

  constructor({ inplace = false }: InplaceOptions = {}) {
    super();
    this.inplace = inplace;
  }

  protected forward(input: Tensor): Tensor {
    return this.inplace ? input.relu_() : input.relu();
  }

  override extraRepr(): string {
    return this.inplace ? 'inplace=True' : '';
  }
}
