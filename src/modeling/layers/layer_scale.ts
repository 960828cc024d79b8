import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/** Scales each channel, the last dimension of the input, by a learned factor (Touvron et al. 2021). */
export class LayerScale extends torch.nn.Module {
  /** `[dim]` */
  readonly gamma: torch.nn.Parameter;

  /** @param start what the factors are at first */
  constructor(dim: number, start: number) {
    super();
    this.gamma = new torch.nn.Parameter(torch.full([dim], start, { dtype: torch.float32 }));
  }

  protected override forward(x: Tensor): Tensor {
    return x.mul(this.gamma);
  }
}
