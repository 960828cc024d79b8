import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { type BatchNormOptions, ChannelNorm } from './norm.js';

/** As of batch normalisation, but `affine` and `trackRunningStats` are false unless given. */
export interface InstanceNormOptions extends BatchNormOptions {
  momentum?: number;
}

/** Normalisation of every channel of every sample by itself (Ulyanov et al. 2016). */
abstract class InstanceNorm extends ChannelNorm {
  constructor(numFeatures: number, options: InstanceNormOptions = {}) {
    super(numFeatures, { affine: false, trackRunningStats: false, ...options });
  }

  protected forward(input: Tensor): Tensor {
    this.checkDims(input);
    const { running_mean, running_var, weight, bias, momentum, eps } = this;
    const byInput = this.training || !this.trackRunningStats;
    return aten.instance_norm(
      input,
      weight,
      bias,
      running_mean,
      running_var,
      byInput,
      momentum ?? 0,
      eps,
      true,
    );
  }
}

/** Instance normalisation of [N, C, L]. */
export class InstanceNorm1d extends InstanceNorm {
  protected get inputDims(): readonly number[] {
    return [3];
  }
}

/** Instance normalisation of [N, C, H, W]. */
export class InstanceNorm2d extends InstanceNorm {
  protected get inputDims(): readonly number[] {
    return [4];
  }
}
