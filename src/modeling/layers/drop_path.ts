import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/**
 * Stochastic depth (Huang et al. 2016): in training, zeroes a residual branch, the input `[N, …]`, for each sample
 * with probability `p` and scales what is left by 1 / (1 − p). Draws one number a sample.
 */
export class DropPath extends torch.nn.Module {
  readonly p: number;

  constructor(p = 0) {
    super();
    if (!(p >= 0 && p < 1)) throw new RangeError(`DropPath: probability must be in [0, 1), got ${p}`);
    this.p = p;
  }

  protected override forward(x: Tensor): Tensor {
    if (this.p === 0 || !this.training) return x;
    const kept = 1 - this.p;
    const options = { dtype: x.dtype, device: x.device };
    const keep = torch.rand([x.shape[0], ...x.shape.slice(1).fill(1)], options);
    // Divided before it is masked, not by one factor: the last digit depends on it.
    return x.div(kept).mul_(keep.add_(kept).floor_());
  }

  override extraRepr(): string {
    return `p=${this.p}`;
  }
}

/** The probabilities of `count` blocks in a row: from 0 for the first, evenly, to `last`. */
export function dropPathRates(last: number, count: number): number[] {
  // In float32 on purpose: that is what the published models were trained with.
  return torch.scope(() => torch.linspace(0, last, count).toArray() as number[]);
}
