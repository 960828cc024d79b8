import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

export interface RunningStatistics {
  /** `[channels]` */
  mean: Tensor | null;
  variance: Tensor | null;
  momentum: number;
}

/** What a batch is normalised by, of at least float32. */
export interface Normaliser {
  /** `[channels]` */
  mean: Tensor;
  /** `[channels]`; what it is, the kernels know that made it. */
  spread: Tensor;
  /** How many values a channel has, by process, `[processes]`. */
  counts: Tensor;
  eps: number;
}

/** The parts of batch normalisation between which processes tell each other what they found. Inputs are `[N, C, H, W]`. */
export interface SyncBatchNormKernels {
  /**
   * Statistics of all processes; the running ones are brought up to date.
   *
   * @param gather the vectors of all processes, stacked
   */
  statistics(
    input: Tensor,
    eps: number,
    running: RunningStatistics,
    gather: (own: Tensor) => Tensor,
  ): Normaliser;
  /** `(input − mean) / √(variance + eps) · weight + bias` */
  normalise(input: Tensor, weight: Tensor, bias: Tensor, by: Normaliser): Tensor;
  /**
   * Gradients of input, weight and bias; the latter two are this process's part.
   *
   * @param total sums over all processes
   */
  backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    by: Normaliser,
    total: (own: Tensor) => Tensor,
  ): [Tensor, Tensor, Tensor];
}

export function kernelsFor(input: Tensor): SyncBatchNormKernels {
  return input.device.type === 'cuda' ? FUSED : COMPOSED;
}

/** Memory without gaps, in whichever order its maps lie. */
const dense = (x: Tensor): Tensor => (x.strides[1] === 1 ? x : x.contiguous());

/** libtorch's own for CUDA, each of which reads a map once. The spread is 1 / √(variance + eps). */
const FUSED: SyncBatchNormKernels = {
  statistics(given, eps, running, gather) {
    const input = dense(given);
    const [ownMean, ownSpread] = torch.batch_norm_stats(input, eps);
    const { means, spreads, counts } = parts(gather(summary(input, ownMean, ownSpread)));
    const [mean, spread] = torch.batch_norm_gather_stats_with_counts(
      input,
      means,
      spreads,
      running.mean,
      running.variance,
      running.momentum,
      eps,
      running.mean ? counts.to(running.mean.dtype) : counts,
    );
    return { mean, spread, counts: counts.to(torch.int32), eps };
  },
  normalise(input, weight, bias, { mean, spread, eps }) {
    return torch.batch_norm_elemt(dense(input), weight, bias, mean, spread, eps);
  },
  backward(givenGrad, givenInput, weight, { mean, spread, counts }, total) {
    const [grad, input] = [dense(givenGrad), dense(givenInput)];
    const [ownGrad, ownProduct, gradWeight, gradBias] = torch.batch_norm_backward_reduce(
      grad,
      input,
      mean,
      spread,
      weight,
      true,
      true,
      true,
    );
    const [sumGrad, sumProduct] = total(torch.stack([ownGrad, ownProduct])).unbind(0);
    const wideWeight = weight.to(mean.dtype);
    const gradInput = torch.batch_norm_backward_elemt(
      grad,
      input,
      mean,
      spread,
      wideWeight,
      sumGrad,
      sumProduct,
      counts,
    );
    return [gradInput, gradWeight, gradBias];
  },
};

/** Dimensions of an input but the channels'. */
const REDUCED = [0, 2, 3];

/** `[channels]` to broadcast along an input. */
const perChannel = (values: Tensor): Tensor => values.view([1, -1, 1, 1]);

/** Sums of half-precision values overflow. */
const wide = (x: Tensor): Tensor => (x.dtype.itemsize < 4 ? x.float() : x);

/** For any device. The spread is the biased variance. */
const COMPOSED: SyncBatchNormKernels = {
  statistics(given, eps, { mean: runningMean, variance: runningVariance, momentum }, gather) {
    const input = wide(given);
    const [ownVariance, ownMean] = torch.var_mean(input, REDUCED, { correction: 0 });
    const { means, spreads, counts } = parts(gather(summary(input, ownMean, ownVariance)));
    const count = counts.sum();
    const share = counts.div(count).unsqueeze(1);
    const mean = means.mul(share).sum([0]);
    const offsets = means.sub(mean);
    const variance = spreads.add(offsets.mul(offsets)).mul(share).sum([0]);
    runningMean?.mul_(1 - momentum).add_(mean.mul(momentum));
    runningVariance?.mul_(1 - momentum).add_(variance.mul(count.div(count.sub(1))).mul(momentum));
    return { mean, spread: variance, counts, eps };
  },
  normalise(input, weight, bias, { mean, spread, eps }) {
    return torch.batch_norm(input, weight, bias, mean, spread, false, 0, eps, true);
  },
  backward(givenGrad, givenInput, weight, { mean, spread, counts, eps }, total) {
    const [grad, input] = [wide(givenGrad), wide(givenInput)];
    const inverseSpread = spread.add(eps).rsqrt();
    const normalised = input.sub(perChannel(mean)).mul_(perChannel(inverseSpread));
    const gradBias = grad.sum(REDUCED);
    const gradWeight = grad.mul(normalised).sum(REDUCED);
    const [meanGrad, meanProduct] = total(torch.stack([gradBias, gradWeight]))
      .div(counts.sum())
      .unbind(0);
    const gradInput = grad
      .sub(perChannel(meanGrad))
      .sub_(normalised.mul_(perChannel(meanProduct)))
      .mul_(perChannel(weight.mul(inverseSpread)));
    return [gradInput.to(givenInput.dtype), gradWeight, gradBias];
  },
};

/** `[2 · channels + 1]`: what the others need to know of this process's values. */
function summary(input: Tensor, mean: Tensor, spread: Tensor): Tensor {
  const { dtype, device } = mean;
  const count = torch.full([1], input.numel() / mean.numel(), { dtype, device });
  return torch.cat([mean, spread, count]);
}

/** The summaries of all processes, taken apart: `[processes, channels]` and `[processes]`. */
function parts(all: Tensor): { means: Tensor; spreads: Tensor; counts: Tensor } {
  const channels = (all.shape[1]! - 1) / 2;
  return {
    means: all.narrow(1, 0, channels),
    spreads: all.narrow(1, channels, channels),
    counts: all.narrow(1, 2 * channels, 1).view([-1]),
  };
}
