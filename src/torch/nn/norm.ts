import { int64 } from '../dtype.js';
import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { ones_, zeros_ } from './init.js';
import type { FactoryOptions } from './linear.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { pyFloat, pyValue } from './printing.js';

export interface BatchNormOptions extends FactoryOptions {
  /** Added to the variance (default 1e-5). */
  eps?: number;
  /** Weight of the newest batch in the running statistics (default 0.1); null: plain average over batches. */
  momentum?: number | null;
  /** Whether there are a weight and a bias (default true). */
  affine?: boolean;
  /** Whether running statistics are kept (default true); without, every batch is normalised by its own. */
  trackRunningStats?: boolean;
}

/** What batch and instance normalisation share: their parameters and running statistics. */
export abstract class ChannelNorm extends Module {
  readonly numFeatures: number;
  eps: number;
  momentum: number | null;
  readonly affine: boolean;
  readonly trackRunningStats: boolean;
  /** [numFeatures] */
  weight: Parameter | null;
  /** [numFeatures] */
  bias: Parameter | null;
  /** [numFeatures] */
  declare running_mean: Tensor | null;
  /** [numFeatures], unbiased */
  declare running_var: Tensor | null;
  /** int64 scalar */
  declare num_batches_tracked: Tensor | null;

  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super();
    const { eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true, device, dtype } = options;
    this.numFeatures = numFeatures;
    this.eps = eps;
    this.momentum = momentum;
    this.affine = affine;
    this.trackRunningStats = trackRunningStats;
    this.weight = affine ? new Parameter(aten.empty([numFeatures], { device, dtype })) : null;
    this.bias = affine ? new Parameter(aten.empty([numFeatures], { device, dtype })) : null;
    const track = trackRunningStats;
    this.registerBuffer('running_mean', track ? aten.zeros([numFeatures], { device, dtype }) : null);
    this.registerBuffer('running_var', track ? aten.ones([numFeatures], { device, dtype }) : null);
    this.registerBuffer('num_batches_tracked', track ? aten.zeros([], { device, dtype: int64 }) : null);
    this.resetParameters();
  }

  resetRunningStats(): void {
    this.running_mean?.zero_();
    this.running_var?.fill_(1);
    this.num_batches_tracked?.zero_();
  }

  resetParameters(): void {
    this.resetRunningStats();
    if (this.weight !== null) ones_(this.weight);
    if (this.bias !== null) zeros_(this.bias);
  }

  /** Numbers of dimensions an input may have. */
  protected abstract readonly inputDims: readonly number[];

  protected checkDims(input: Tensor): void {
    const dims = input.dim();
    if (this.inputDims.includes(dims)) return;
    throw new Error(`${this.typeName}: expected ${this.inputDims.join('D or ')}D input (got ${dims}D input)`);
  }

  // Checkpoints older than PyTorch 0.4.1 have no such counter.
  override optionalState(): readonly string[] {
    return ['num_batches_tracked'];
  }

  override extraRepr(): string {
    const { numFeatures, eps, momentum, affine, bias, trackRunningStats } = this;
    return (
      `${numFeatures}, eps=${pyFloat(eps)}, momentum=${momentum === null ? 'None' : pyFloat(momentum)}, ` +
      `affine=${pyValue(affine)}, bias=${pyValue(bias !== null)}, track_running_stats=${pyValue(trackRunningStats)}`
    );
  }
}

/** Normalisation of every channel over all other dimensions, the batch included (Ioffe & Szegedy 2015). */
export abstract class BatchNorm extends ChannelNorm {
  protected forward(input: Tensor): Tensor {
    this.checkDims(input);
    let factor = this.momentum ?? 0;
    if (this.training && this.num_batches_tracked !== null) {
      this.num_batches_tracked.add_(1);
      if (this.momentum === null) factor = 1 / Number(this.num_batches_tracked.item());
    }
    const { running_mean, running_var } = this;
    const byBatch = this.training || (running_mean === null && running_var === null);
    if (byBatch) this.checkBatch(input.shape);
    return aten.batch_norm(
      input,
      this.weight,
      this.bias,
      running_mean,
      running_var,
      byBatch,
      factor,
      this.eps,
      true,
    );
  }

  /** One value a channel has no variance. */
  private checkBatch(shape: readonly number[]): void {
    const count = shape.reduce((product, n, i) => (i === 1 ? product : product * n), 1);
    if (count === 1) {
      throw new Error(
        `${this.typeName}: expected more than 1 value per channel when training, got input size [${shape.join(', ')}]`,
      );
    }
  }
}

/** Batch normalisation of [N, C] or [N, C, L]. */
export class BatchNorm1d extends BatchNorm {
  protected get inputDims(): readonly number[] {
    return [2, 3];
  }
}

/** Batch normalisation of [N, C, H, W]. */
export class BatchNorm2d extends BatchNorm {
  protected get inputDims(): readonly number[] {
    return [4];
  }
}
