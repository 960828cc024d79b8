import type { DeviceLike } from '../device.js';
import type { DType } from '../dtype.js';
import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { calculateFan, kaimingUniform_, uniform_ } from './init.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { pyValue } from './printing.js';

/** Where parameters are created and of which dtype (default: CPU, float32). */
export interface FactoryOptions {
  device?: DeviceLike;
  dtype?: DType;
}

export interface LinearOptions extends FactoryOptions {
  bias?: boolean;
}

/** y = x Wᵀ + b for x of shape [..., inFeatures]. */
export class Linear extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** [outFeatures, inFeatures] */
  weight: Parameter;
  /** [outFeatures] */
  bias: Parameter | null;

  constructor(inFeatures: number, outFeatures: number, { bias = true, device, dtype }: LinearOptions = {}) {
    super();
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new Parameter(aten.empty([outFeatures, inFeatures], { device, dtype }));
    this.bias = bias ? new Parameter(aten.empty([outFeatures], { device, dtype })) : null;
    this.resetParameters();
  }

  resetParameters(): void {
    resetAffine(this.weight, this.bias);
  }

  protected forward(input: Tensor): Tensor {
    return aten.linear(input, this.weight, this.bias);
  }

  override extraRepr(): string {
    return `in_features=${this.inFeatures}, out_features=${this.outFeatures}, bias=${pyValue(this.bias !== null)}`;
  }
}

/** The initialisation PyTorch gives to linear and convolution layers: uniform in ±1/√fanIn. */
export function resetAffine(weight: Parameter, bias: Parameter | null): void {
  kaimingUniform_(weight, { a: Math.sqrt(5) });
  if (bias === null) return;
  const { fanIn } = calculateFan(weight);
  if (fanIn === 0) return;
  const bound = 1 / Math.sqrt(fanIn);
  uniform_(bias, -bound, bound);
}

/** Returns its input. */
export class Identity extends Module {
  protected forward(input: Tensor): Tensor {
    return input;
  }
}

/** Merges the dimensions from `startDim` to `endDim` (inclusive) into one. */
export class Flatten extends Module {
  readonly startDim: number;
  readonly endDim: number;

  constructor(startDim = 1, endDim = -1) {
    super();
    this.startDim = startDim;
    this.endDim = endDim;
  }

  protected forward(input: Tensor): Tensor {
    return input.flatten(this.startDim, this.endDim);
  }

  override extraRepr(): string {
    return `start_dim=${this.startDim}, end_dim=${this.endDim}`;
  }
}
