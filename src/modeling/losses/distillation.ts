import * as torch from '../../torch/index.js';
import { inFullPrecision } from '../layers/full_precision.js';

type Tensor = torch.Tensor;

export interface DistillationOptions {
  /** Logits are divided by it: the higher, the more the classes that are not the target's count. */
  temperature?: number;
}

/** ATen's number of the reduction to a sum. */
const SUM = 2;

/**
 * Mean over the batch of the divergence KL(q ‖ p) of two predictions, logits `[N, classes]` of p and q, softened by a
 * temperature T and multiplied by T² so that the gradients keep their size (Hinton et al. 2015, arXiv 1503.02531).
 */
function divergence(p: Tensor, q: Tensor, temperature: number): Tensor {
  const logP = torch.log_softmax(p.div(temperature), 1);
  const soft = torch.softmax(q.div(temperature), 1);
  return torch
    .kl_div(logP, soft, SUM)
    .mul(temperature ** 2)
    .div(p.shape[0]);
}

/**
 * Distillation by the mean of the Kullback-Leibler divergences in both directions, which FastReID calls `jsdiv`:
 * logits `[N, classes]` of student and teacher; a 0-dimensional tensor, 0 where they agree. No gradient goes to the
 * teacher's logits when these are detached.
 */
export function jsdivLoss(
  student: Tensor,
  teacher: Tensor,
  { temperature = 16 }: DistillationOptions = {},
): Tensor {
  return inFullPrecision([student, teacher], (s, t) =>
    divergence(s, t, temperature)
      .add(divergence(t, s, temperature))
      .div(2),
  );
}
