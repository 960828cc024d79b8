import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

export interface CrossEntropyOptions {
  /**
   * Label smoothing: this share of the target is spread evenly over the other classes. 0 is plain cross-entropy;
   * a negative value lets each sample decide, by `alpha` times the probability it gives to its own class.
   */
  epsilon?: number;
  /** Factor of the adaptive smoothing (`epsilon < 0`). */
  alpha?: number;
}

/**
 * Cross-entropy of logits `[N, classes]` against int64 targets `[N]`, with label smoothing; a 0-dimensional
 * tensor. Samples whose loss is exactly 0 do not count in the mean.
 */
export function crossEntropyLoss(
  logits: Tensor,
  targets: Tensor,
  { epsilon = 0, alpha = 0.2 }: CrossEntropyOptions = {},
): Tensor {
  const others = logits.shape[1] - 1;
  const labels = targets.unsqueeze(1);
  const logProbabilities = torch.log_softmax(logits, 1);
  const wanted = torch.noGrad(() => {
    const spread = torch.ones_like(logProbabilities);
    if (epsilon >= 0) return spread.mul_(epsilon / others).scatter_(1, labels, 1 - epsilon);
    const smoothing = torch.softmax(logits, 1).gather(1, labels).mul(alpha);
    return spread.mul_(smoothing.div(others)).scatter_(1, labels, smoothing.neg().add(1));
  });
  const losses = wanted.neg().mul(logProbabilities).sum([1]);
  // Counted on the device: asking for the number would make the CPU wait for a GPU.
  const counted = torch.noGrad(() => losses.ne(0).sum().clamp_min(1));
  return losses.sum().div(counted);
}
