import type { FunctionContext } from '../../torch/autograd.js';
import * as torch from '../../torch/index.js';
import type { BatchGroup } from './batch_group.js';
import { BatchNorm } from './batch_norm.js';
import { kernelsFor, type Normaliser } from './sync_batch_norm_kernels.js';

type Tensor = torch.Tensor;

/**
 * Batch normalisation by the statistics of the whole batch of all processes. State and numbers are those of
 * PyTorch's SyncBatchNorm; in a single process it is BatchNorm.
 */
export class SyncBatchNorm extends BatchNorm {
  /** Whose batches are normalised together; null: this process's alone. */
  group: BatchGroup | null = null;

  protected override forward(input: Tensor): Tensor {
    const { group, running_mean, running_var, eps } = this;
    if (!this.training || group === null) return super.forward(input);
    this.checkDims(input);
    const by = torch.noGrad(() => {
      this.num_batches_tracked?.add_(1);
      const momentum = this.momentum ?? 1 / Number(this.num_batches_tracked?.item() ?? 1);
      const running = { mean: running_mean, variance: running_var, momentum };
      return kernelsFor(input).statistics(input.detach(), eps, running, (own) => group.gather(own));
    });
    return Normalisation.apply(input, this.weight as Tensor, this.bias as Tensor, by, group);
  }
}

interface Context extends FunctionContext {
  eps?: number;
  group?: BatchGroup;
}

/** Normalisation by given statistics, whose gradients are those of all processes. */
class Normalisation extends torch.autograd.Function {
  static forward(
    context: Context,
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    by: Normaliser,
    group: BatchGroup,
  ): Tensor {
    context.saveForBackward(input, weight, by.mean, by.spread, by.counts);
    context.eps = by.eps;
    context.group = group;
    return kernelsFor(input).normalise(input, weight, bias, by);
  }

  static backward(context: Context, grad: Tensor): (Tensor | null)[] {
    const [input, weight, mean, spread, counts] = context.savedTensors;
    const by = { mean, spread, counts, eps: context.eps as number };
    const group = context.group as BatchGroup;
    return torch.scope(() => [
      ...kernelsFor(input).backward(grad, input, weight, by, (own) => group.gather(own).sum([0])),
      null,
      null,
    ]);
  }
}
