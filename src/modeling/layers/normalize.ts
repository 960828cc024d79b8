import * as torch from '../../torch/index.js';

/**
 * `x` divided by its Euclidean length along `dim`; lengths below 1e-12 count as 1e-12. The operators are those
 * of `torch.nn.functional.normalize`, in its order, so that values and gradients have the same bits.
 */
export function normalize(x: torch.Tensor, dim = 1): torch.Tensor {
  const length = torch.linalg_vector_norm(x, 2, [dim], true);
  return x.div(length.clamp_min(1e-12).expand_as(x));
}
