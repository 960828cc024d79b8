import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { pair, type Size2 } from './conv.js';
import { Module } from './module.js';
import { pyValue } from './printing.js';

export interface MaxPool2dOptions {
  /** Default: the kernel size. */
  stride?: Size2;
  padding?: Size2;
  dilation?: Size2;
  /** Whether a window that reaches over the edge counts (default false). */
  ceilMode?: boolean;
}

/** Maximum over windows of [N, C, H, W]. */
export class MaxPool2d extends Module {
  readonly kernelSize: Size2;
  readonly stride: Size2;
  readonly padding: Size2;
  readonly dilation: Size2;
  readonly ceilMode: boolean;

  constructor(kernelSize: Size2, options: MaxPool2dOptions = {}) {
    super();
    const { stride = kernelSize, padding = 0, dilation = 1, ceilMode = false } = options;
    this.kernelSize = kernelSize;
    this.stride = stride;
    this.padding = padding;
    this.dilation = dilation;
    this.ceilMode = ceilMode;
  }

  protected forward(input: Tensor): Tensor {
    const { kernelSize, stride, padding, dilation, ceilMode } = this;
    return aten.max_pool2d(input, pair(kernelSize), pair(stride), pair(padding), pair(dilation), ceilMode);
  }

  override extraRepr(): string {
    const { kernelSize, stride, padding, dilation, ceilMode } = this;
    return (
      `kernel_size=${pyValue(kernelSize)}, stride=${pyValue(stride)}, padding=${pyValue(padding)}, ` +
      `dilation=${pyValue(dilation)}, ceil_mode=${pyValue(ceilMode)}`
    );
  }
}

export interface AvgPool2dOptions {
  /** Default: the kernel size. */
  stride?: Size2;
  padding?: Size2;
  ceilMode?: boolean;
  /** Whether the zeros of the padding count in the average (default true). */
  countIncludePad?: boolean;
  /** Divides by this instead of by the size of the window. */
  divisorOverride?: number | null;
}

/** Average over windows of [N, C, H, W]. */
export class AvgPool2d extends Module {
  readonly kernelSize: Size2;
  readonly stride: Size2;
  readonly padding: Size2;
  readonly ceilMode: boolean;
  readonly countIncludePad: boolean;
  readonly divisorOverride: number | null;

  constructor(kernelSize: Size2, options: AvgPool2dOptions = {}) {
    super();
    const { stride = kernelSize, padding = 0, ceilMode = false, countIncludePad = true } = options;
    this.kernelSize = kernelSize;
    this.stride = stride;
    this.padding = padding;
    this.ceilMode = ceilMode;
    this.countIncludePad = countIncludePad;
    this.divisorOverride = options.divisorOverride ?? null;
  }

  protected forward(input: Tensor): Tensor {
    return aten.avg_pool2d(
      input,
      pair(this.kernelSize),
      pair(this.stride),
      pair(this.padding),
      this.ceilMode,
      this.countIncludePad,
      this.divisorOverride,
    );
  }

  override extraRepr(): string {
    const { kernelSize, stride, padding } = this;
    return `kernel_size=${pyValue(kernelSize)}, stride=${pyValue(stride)}, padding=${pyValue(padding)}`;
  }
}

/** Height and width of an adaptive pooling's output; null keeps that of the input. */
export type OutputSize2 = number | null | readonly [number | null, number | null];

/** What the adaptive poolings share: windows are chosen so that the output has the wanted size. */
abstract class AdaptivePool2d extends Module {
  readonly outputSize: OutputSize2;

  constructor(outputSize: OutputSize2) {
    super();
    this.outputSize = outputSize;
  }

  protected sizeFor(input: Tensor): number[] {
    const { outputSize } = this;
    const [height, width] =
      typeof outputSize === 'number' || outputSize === null ? [outputSize, outputSize] : outputSize;
    if (height !== null && width !== null) return [height, width];
    const shape = input.shape;
    return [height ?? shape.at(-2) ?? 0, width ?? shape.at(-1) ?? 0];
  }

  override extraRepr(): string {
    return `output_size=${pyValue(this.outputSize)}`;
  }
}

/** Average pooling of [N, C, H, W] to a given output size. */
export class AdaptiveAvgPool2d extends AdaptivePool2d {
  protected forward(input: Tensor): Tensor {
    return aten.adaptive_avg_pool2d(input, this.sizeFor(input));
  }
}

/** Maximum pooling of [N, C, H, W] to a given output size. */
export class AdaptiveMaxPool2d extends AdaptivePool2d {
  protected forward(input: Tensor): Tensor {
    return aten.adaptive_max_pool2d(input, this.sizeFor(input))[0];
  }
}
