import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/** Layer normalisation of a map `[N, C, H, W]` over its channels, at each position; returned in channels-last layout. */
export class LayerNorm2d extends torch.nn.LayerNorm {
  protected override forward(x: Tensor): Tensor {
    return super.forward(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]);
  }
}
