import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { ones_, zeros_ } from './init.js';
import type { FactoryOptions } from './linear.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { pyFloat, pyValue } from './printing.js';

export interface LayerNormOptions extends FactoryOptions {
  /** Added to the variance (default 1e-5). */
  eps?: number;
  /** Whether there is a weight (default true). */
  elementwiseAffine?: boolean;
  /** Whether there is a bias beside the weight (default true). */
  bias?: boolean;
}

/** Normalisation of every sample over its last dimensions, those of `shape` (Ba et al. 2016). */
export class LayerNorm extends Module {
  readonly shape: readonly number[];
  readonly eps: number;
  /** As `shape`. */
  weight: Parameter | null;
  /** As `shape`. */
  bias: Parameter | null;

  constructor(shape: number | readonly number[], options: LayerNormOptions = {}) {
    super();
    const { eps = 1e-5, elementwiseAffine = true, bias = true, device, dtype } = options;
    this.shape = typeof shape === 'number' ? [shape] : [...shape];
    this.eps = eps;
    const parameter = () => new Parameter(aten.empty([...this.shape], { device, dtype }));
    this.weight = elementwiseAffine ? parameter() : null;
    this.bias = elementwiseAffine && bias ? parameter() : null;
    this.resetParameters();
  }

  resetParameters(): void {
    if (this.weight !== null) ones_(this.weight);
    if (this.bias !== null) zeros_(this.bias);
  }

  protected forward(input: Tensor): Tensor {
    return aten.layer_norm(input, this.shape as number[], this.weight, this.bias, this.eps, true);
  }

  override extraRepr(): string {
    const { shape, eps, weight } = this;
    return `${pyValue(shape)}, eps=${pyFloat(eps)}, elementwise_affine=${pyValue(weight !== null)}, bias=${pyValue(this.bias !== null)}`;
  }
}

export interface GroupNormOptions extends FactoryOptions {
  /** Added to the variance (default 1e-5). */
  eps?: number;
  /** Whether there is a weight (default true). */
  affine?: boolean;
  /** Whether there is a bias beside the weight (default true). */
  bias?: boolean;
}

/** Normalisation of [N, C, …] over groups of channels of each sample (Wu & He 2018). */
export class GroupNorm extends Module {
  readonly numGroups: number;
  readonly numChannels: number;
  readonly eps: number;
  /** [numChannels] */
  weight: Parameter | null;
  /** [numChannels] */
  bias: Parameter | null;

  constructor(numGroups: number, numChannels: number, options: GroupNormOptions = {}) {
    super();
    if (numChannels % numGroups !== 0) {
      throw new Error(`GroupNorm: ${numChannels} channels cannot be parted into ${numGroups} equal groups`);
    }
    const { eps = 1e-5, affine = true, bias = true, device, dtype } = options;
    this.numGroups = numGroups;
    this.numChannels = numChannels;
    this.eps = eps;
    this.weight = affine ? new Parameter(aten.empty([numChannels], { device, dtype })) : null;
    this.bias = affine && bias ? new Parameter(aten.empty([numChannels], { device, dtype })) : null;
    this.resetParameters();
  }

  resetParameters(): void {
    if (this.weight !== null) ones_(this.weight);
    if (this.bias !== null) zeros_(this.bias);
  }

  protected forward(input: Tensor): Tensor {
    return aten.group_norm(input, this.numGroups, this.weight, this.bias, this.eps, true);
  }

  override extraRepr(): string {
    const { numGroups, numChannels, eps, weight, bias } = this;
    return `${numGroups}, ${numChannels}, eps=${pyFloat(eps)}, affine=${pyValue(weight !== null)}, bias=${pyValue(bias !== null)}`;
  }
}
