import type { FunctionContext } from '../../torch/autograd.js';
import * as torch from '../../torch/index.js';
import type { BatchGroup } from './batch_group.js';
import { BatchNorm } from './batch_norm.js';

type Tensor = torch.Tensor;

/**
 * Batch normalisation by the statistics of the whole batch of all processes. State and numbers are those of
 * PyTorch's SyncBatchNorm; in a single process it is BatchNorm.
 */
export class SyncBatchNorm extends BatchNorm {
  /** Whose batches are normalised together; null: this process's alone. */
  group: BatchGroup | null = null;

  protected override forward(input: Tensor): Tensor {
    const { group, running_mean, running_var } = this;
    if (!this.training || group === null) return super.forward(input);
    this.checkDims(input);
    const { mean, variance, count } = torch.noGrad(() => globalStatistics(input.detach(), group));
    torch.noGrad(() => {
      this.num_batches_tracked?.add_(1);
      const momentum = this.momentum ?? 1 / Number(this.num_batches_tracked?.item() ?? 1);
      running_mean?.mul_(1 - momentum).add_(mean.mul(momentum));
      running_var?.mul_(1 - momentum).add_(variance.mul(count.div(count.sub(1))).mul(momentum));
    });
    const inverseSpread = variance.add(this.eps).rsqrt();
    return Normalisation.apply(
      input,
      this.weight as Tensor,
      this.bias as Tensor,
      { mean, variance, inverseSpread, count },
      this.eps,
      group,
    );
  }
}

interface Statistics {
  /** `[channels]` */
  mean: Tensor;
  /** `[channels]`, biased */
  variance: Tensor;
  /** Values a channel in all processes, `[1]`. */
  count: Tensor;
}

/** Dimensions of an input but the channels'. */
const REDUCED = [0, 2, 3];

/** `[channels]` to broadcast along an input `[N, C, H, W]`. */
const perChannel = (values: Tensor): Tensor => values.view([1, -1, 1, 1]);

function globalStatistics(input: Tensor, group: BatchGroup): Statistics {
  const [n, c, h, w] = input.shape;
  // Sums of half-precision values overflow.
  const wide = input.dtype.itemsize < 4 ? input.float() : input;
  const [ownVariance, ownMean] = torch.var_mean(wide, REDUCED, { correction: 0 });
  const ownCount = torch.full([1], n * h * w, { dtype: wide.dtype, device: wide.device });
  const own = torch.cat([ownMean, ownVariance, ownCount]);
  const all = group.gather(own);
  const counts = all.narrow(1, 2 * c, 1);
  const count = counts.sum([0]);
  const share = counts.div(count);
  const means = all.narrow(1, 0, c);
  const mean = means.mul(share).sum([0]);
  const offsets = means.sub(mean);
  const variance = all.narrow(1, c, c).add(offsets.mul(offsets)).mul(share).sum([0]);
  return { mean, variance, count };
}

/** `(input − mean) / spread · weight + bias` with given statistics, whose gradients are those of all processes. */
class Normalisation extends torch.autograd.Function {
  static forward(
    context: FunctionContext & { group?: BatchGroup },
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    { mean, variance, inverseSpread, count }: Statistics & { inverseSpread: Tensor },
    eps: number,
    group: BatchGroup,
  ): Tensor {
    context.saveForBackward(input, weight, mean, inverseSpread, count);
    context.group = group;
    return torch.batch_norm(input, weight, bias, mean, variance, false, 0, eps, true);
  }

  static backward(context: FunctionContext & { group?: BatchGroup }, grad: Tensor): (Tensor | null)[] {
    const [input, weight, mean, inverseSpread, count] = context.savedTensors;
    const group = context.group as BatchGroup;
    return torch.scope(() => {
      const normalised = input.sub(perChannel(mean)).mul_(perChannel(inverseSpread));
      const gradBias = grad.sum(REDUCED);
      const gradWeight = grad.mul(normalised).sum(REDUCED);
      const [meanGrad, meanProduct] = group
        .gather(torch.stack([gradBias, gradWeight]))
        .sum([0])
        .div(count)
        .unbind(0);
      const gradInput = grad
        .sub(perChannel(meanGrad))
        .sub_(normalised.mul_(perChannel(meanProduct)))
        .mul_(perChannel(weight.mul(inverseSpread)));
      return [gradInput, gradWeight, gradBias, null, null, null];
    });
  }
}
