import * as torch from '../../torch/index.js';

/**
 * Fills a tensor in place from N(0, std²) cut to [−2, 2], by one uniform number an element through the inverse of the
 * distribution function: the draw of timm and FastReID, which is not that of `torch.nn.init.truncNormal_`. For
 * `std` far below 1 only: the cut itself is taken to have no probability.
 */
export function truncatedNormal_(tensor: torch.Tensor, std: number): void {
  torch.noGrad(() => {
    tensor
      .uniform_(-1, 1)
      .erfinv_()
      .mul_(std * Math.SQRT2)
      .clamp_(-2, 2);
  });
}
