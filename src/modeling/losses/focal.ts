import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

export interface FocalOptions {
  /** Weight of the loss. */
  alpha?: number;
  /** How strongly samples that are already right are played down; 0 is cross-entropy. */
  gamma?: number;
}

/** Keeps the slope of the weights finite where a sample is certain and gamma below 1. */
const FLOOR = 1e-12;

/**
 * Focal loss (Lin et al. 2017): logits `[N, classes]`, int64 targets `[N]`; a 0-dimensional tensor, the mean.
 * Only the own class's probability is looked at, so that others may vanish.
 */
export function focalLoss(
  logits: Tensor,
  targets: Tensor,
  { alpha = 0.25, gamma = 2 }: FocalOptions = {},
): Tensor {
  const logProbabilities = torch.log_softmax(logits, 1).gather(1, targets.unsqueeze(1));
  const doubts = logProbabilities.expm1().neg().clamp_min(FLOOR);
  return doubts.pow(gamma).mul(-alpha).mul(logProbabilities).mean();
}
