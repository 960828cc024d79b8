import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

export interface FocalOptions {
  /** Weight of the loss. */
  alpha?: number;
  /** How strongly samples that are already right are played down; 0 is cross-entropy. */
  gamma?: number;
}

/** Focal loss (Lin et al. 2017): logits `[N, classes]`, int64 targets `[N]`; a 0-dimensional tensor, the mean. */
export function focalLoss(
  logits: Tensor,
  targets: Tensor,
  { alpha = 0.25, gamma = 2 }: FocalOptions = {},
): Tensor {
  const probabilities = torch.softmax(logits, 1);
  const weights = probabilities.neg().add(1).pow(gamma);
  const terms = weights.mul(-alpha).mul(probabilities.log());
  return torch.one_hot(targets, logits.shape[1]).mul(terms).sum([1]).mean();
}
