import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { type FactoryOptions, resetAffine } from './linear.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { pyValue } from './printing.js';

/** A number for both directions, or [vertical, horizontal]. */
export type Size2 = number | readonly [number, number];
export type Pair = readonly [number, number];

export function pair(size: Size2): Pair {
  return typeof size === 'number' ? [size, size] : [size[0], size[1]];
}

export interface Conv2dOptions extends FactoryOptions {
  stride?: Size2;
  /** Zeros around the input; `'same'` keeps the size (stride 1 only), `'valid'` is 0. */
  padding?: Size2 | 'same' | 'valid';
  dilation?: Size2;
  groups?: number;
  bias?: boolean;
}

/** 2-d convolution of [N, C, H, W] (or [C, H, W]). */
export class Conv2d extends Module {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernelSize: Pair;
  readonly stride: Pair;
  readonly padding: Pair | 'same' | 'valid';
  readonly dilation: Pair;
  readonly groups: number;
  /** [outChannels, inChannels / groups, kernel height, kernel width] */
  weight: Parameter;
  /** [outChannels] */
  bias: Parameter | null;

  constructor(inChannels: number, outChannels: number, kernelSize: Size2, options: Conv2dOptions = {}) {
    super();
    const { stride = 1, padding = 0, dilation = 1, groups = 1, bias = true, device, dtype } = options;
    if (!(groups > 0)) throw new RangeError(`Conv2d: groups must be positive, got ${groups}`);
    for (const [name, channels] of [
      ['inChannels', inChannels],
      ['outChannels', outChannels],
    ] as const) {
      if (channels % groups !== 0) {
        throw new RangeError(`Conv2d: ${name} (${channels}) must be divisible by groups (${groups})`);
      }
    }
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.kernelSize = pair(kernelSize);
    this.stride = pair(stride);
    this.padding = typeof padding === 'string' ? padding : pair(padding);
    this.dilation = pair(dilation);
    this.groups = groups;
    if (padding === 'same' && this.stride.some((s) => s !== 1)) {
      throw new RangeError("Conv2d: padding 'same' is not possible with a stride");
    }
    const shape = [outChannels, inChannels / groups, ...this.kernelSize];
    this.weight = new Parameter(aten.empty(shape, { device, dtype }));
    this.bias = bias ? new Parameter(aten.empty([outChannels], { device, dtype })) : null;
    this.resetParameters();
  }

  resetParameters(): void {
    resetAffine(this.weight, this.bias);
  }

  protected forward(given: Tensor): Tensor {
    const { bias, stride, padding, dilation, groups } = this;
    const fragile = isFragile(this, given);
    const input = fragile ? given.contiguous() : given;
    // A 1×1 kernel is laid out both ways at once: flattened, it is only in the usual one.
    const weight = fragile ? this.weight.flatten(1).view(this.weight.shape) : this.weight;
    return typeof padding === 'string'
      ? aten.conv2d(input, weight, bias, stride, padding, dilation, groups)
      : aten.conv2d(input, weight, bias, stride, padding, dilation, groups);
  }

  override extraRepr(): string {
    const { kernelSize, stride, padding, dilation, groups } = this;
    let text = `${this.inChannels}, ${this.outChannels}, kernel_size=${pyValue(kernelSize)}, stride=${pyValue(stride)}`;
    if (typeof padding === 'string' || padding.some((p) => p !== 0)) text += `, padding=${pyValue(padding)}`;
    if (dilation.some((d) => d !== 1)) text += `, dilation=${pyValue(dilation)}`;
    if (groups !== 1) text += `, groups=${groups}`;
    return this.bias === null ? `${text}, bias=False` : text;
  }
}

/**
 * Where oneDNN must not see channels_last: its gradient of the weights of a 1×1 kernel with a stride writes where it must
 * not for 2 to 15 channels (libtorch 2.13 and 2.14, AVX-512; from Python as well).
 */
function isFragile({ kernelSize, stride, inChannels }: Conv2d, input: Tensor): boolean {
  return (
    input.device.type === 'cpu' &&
    inChannels < 16 &&
    kernelSize.every((size) => size === 1) &&
    stride.some((step) => step > 1)
  );
}
