import * as torch from '../../torch/index.js';
import { cosineDistances, euclideanDistances, identityMasks } from './distance.js';

type Tensor = torch.Tensor;

export interface TripletOptions {
  /** Least wanted difference between negative and positive distance; 0 takes the soft margin, log(1 + exp(p − n)). */
  margin?: number;
  /** Compare features scaled to length 1, by the cosine, instead of by the Euclidean distance. */
  normFeat?: boolean;
  /** Each anchor's farthest positive and nearest negative; else means weighted towards them by a softmax. */
  hardMining?: boolean;
}

/** Margin when the soft margin overflows. */
const FALLBACK_MARGIN = 0.3;

/** Triplet loss over every anchor of a batch: features `[N, D]`, int64 targets `[N]`; a 0-dimensional tensor. */
export function tripletLoss(
  features: Tensor,
  targets: Tensor,
  { margin = 0.3, normFeat = false, hardMining = true }: TripletOptions = {},
): Tensor {
  const distances = normFeat ? cosineDistances(features, features) : euclideanDistances(features, features);
  const { same, other } = identityMasks(targets);
  const mine = hardMining ? hardest : softmaxWeighted;
  const { positive, negative } = mine(distances, same, other);
  const sign = torch.ones_like(negative);
  if (margin > 0) return torch.margin_ranking_loss(negative, positive, sign, margin);
  const loss = torch.soft_margin_loss(negative.sub(positive), sign);
  // Chosen where the values are: asking for them would make the CPU wait for a GPU.
  return torch.where(
    loss.eq(Number.POSITIVE_INFINITY),
    torch.margin_ranking_loss(negative, positive, sign, FALLBACK_MARGIN),
    loss,
  );
}

interface Mined {
  /** Distance of each anchor to its positive, `[N]`. */
  positive: Tensor;
  /** Distance of each anchor to its negative, `[N]`. */
  negative: Tensor;
}

function hardest(distances: Tensor, same: Tensor, other: Tensor): Mined {
  const [positive] = distances.mul(same).max(1);
  const [negative] = distances.mul(other).add(same.mul(1e9)).min(1);
  return { positive, negative };
}

function softmaxWeighted(distances: Tensor, same: Tensor, other: Tensor): Mined {
  const toSame = distances.mul(same);
  const toOther = distances.mul(other);
  const weightSame = maskedSoftmax(toSame, same);
  const weightOther = maskedSoftmax(toOther.neg(), other);
  return { positive: toSame.mul(weightSame).sum([1]), negative: toOther.mul(weightOther).sum([1]) };
}

/** Softmax of each row over the entries where `mask` is 1; 0 elsewhere and in rows without any. */
function maskedSoftmax(values: Tensor, mask: Tensor): Tensor {
  const [highest] = values.mul(mask).max(1, true);
  const shifted = values.sub(highest);
  const total = shifted.exp().mul(mask).sum([1], true).add(1e-6);
  return shifted.exp().mul(mask).div(total);
}
