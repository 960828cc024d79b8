import * as torch from '../../torch/index.js';
import { normalize } from '../layers/normalize.js';
import { identityMasks } from './distance.js';

type Tensor = torch.Tensor;

export interface PairwiseOptions {
  margin?: number;
  /** Scale of the similarities inside the exponentials. */
  gamma?: number;
}

/** Added to the logits of pairs that are not meant, so that they vanish in the sum of exponentials. */
const EXCLUDED = -99999999;

interface Pairs {
  same: Tensor;
  other: Tensor;
  /** Cosines of pairs of one identity, without a sample's with itself; 0 elsewhere. */
  positive: Tensor;
  /** Cosines of pairs of two identities; 0 elsewhere. */
  negative: Tensor;
}

function pairs(features: Tensor, targets: Tensor): Pairs {
  const unit = normalize(features);
  const cosines = unit.matmul(unit.t());
  const masks = identityMasks(targets);
  const same = masks.same.sub(torch.eye(targets.shape[0], { device: features.device }));
  return { same, other: masks.other, positive: cosines.mul(same), negative: cosines.mul(masks.other) };
}

function combine(positiveLogits: Tensor, negativeLogits: Tensor, { same, other }: Pairs): Tensor {
  const positives = positiveLogits.add(torch.rsub(same, 1).mul(EXCLUDED));
  const negatives = negativeLogits.add(torch.rsub(other, 1).mul(EXCLUDED));
  return torch.softplus(positives.logsumexp([1]).add(negatives.logsumexp([1]))).mean();
}

/** Pairwise circle loss (Sun et al. 2020) of features `[N, D]`, int64 targets `[N]`; a 0-dimensional tensor. */
export function pairwiseCircleLoss(
  features: Tensor,
  targets: Tensor,
  { margin = 0.25, gamma = 128 }: PairwiseOptions = {},
): Tensor {
  const found = pairs(features, targets);
  const { positive, negative } = found;
  const weightPositive = positive.detach().neg().add(1).add(margin).clamp_min(0);
  const weightNegative = negative.detach().add(margin).clamp_min(0);
  const positiveLogits = weightPositive.mul(-gamma).mul(positive.sub(1 - margin));
  const negativeLogits = weightNegative.mul(gamma).mul(negative.sub(margin));
  return combine(positiveLogits, negativeLogits, found);
}

/** Pairwise CosFace loss of features `[N, D]` and int64 targets `[N]`; a 0-dimensional tensor. */
export function pairwiseCosface(
  features: Tensor,
  targets: Tensor,
  { margin = 0.25, gamma = 128 }: PairwiseOptions = {},
): Tensor {
  const found = pairs(features, targets);
  return combine(found.positive.mul(-gamma), found.negative.add(margin).mul(gamma), found);
}
