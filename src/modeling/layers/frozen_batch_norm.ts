import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

const EPS = 1e-5;

/**
 * Batch normalisation by fixed statistics, scale and shift; nothing is trained and nothing updated, in training
 * as in evaluation. All four are buffers under BatchNorm's names, so that weights trained with BatchNorm load;
 * files that hold only `weight` and `bias`, converted from Caffe2, load as well. Starts as the identity.
 */
export class FrozenBatchNorm extends torch.nn.Module {
  readonly numFeatures: number;
  readonly eps = EPS;
  /** `[channels]` */
  declare weight: Tensor;
  /** `[channels]` */
  declare bias: Tensor;
  /** `[channels]` */
  declare running_mean: Tensor;
  /** `[channels]` */
  declare running_var: Tensor;

  constructor(channels: number) {
    super();
    this.numFeatures = channels;
    this.registerBuffer('weight', torch.ones([channels]));
    this.registerBuffer('bias', torch.zeros([channels]));
    this.registerBuffer('running_mean', torch.zeros([channels]));
    this.registerBuffer('running_var', torch.ones([channels]).sub(EPS));
  }

  protected override forward(input: Tensor): Tensor {
    const { weight, bias, running_mean, running_var, eps } = this;
    if (!input.requiresGrad) {
      return torch.batch_norm(input, weight, bias, running_mean, running_var, false, 0, eps, true);
    }
    // The fused operator would keep the input for gradients of weight and bias, which nobody wants.
    const scale = weight.mul(running_var.add(eps).rsqrt());
    const shift = bias.sub(running_mean.mul(scale));
    return input.mul(scale.view([1, -1, 1, 1])).add_(shift.view([1, -1, 1, 1]));
  }

  override optionalState(): readonly string[] {
    return ['running_mean', 'running_var'];
  }

  override extraRepr(): string {
    return `${this.numFeatures}, eps=${this.eps}`;
  }
}
