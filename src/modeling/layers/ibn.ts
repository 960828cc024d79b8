import * as torch from '../../torch/index.js';
import { getNorm } from './norm.js';

type Tensor = torch.Tensor;

/**
 * Instance-batch normalisation (Pan et al. 2018, IBN-a): the first half of the channels of `[N, C, H, W]` is
 * normalised within each image, the others by the layer that `norm` names. The halves are `IN` and `BN`, whatever
 * the norm.
 */
export class IBN extends torch.nn.Module {
  readonly IN: torch.nn.InstanceNorm2d;
  readonly BN: torch.nn.Module;
  readonly #sizes: readonly [number, number];

  constructor(channels: number, norm: string) {
    super();
    const half = Math.floor(channels / 2);
    this.#sizes = [half, channels - half];
    this.IN = new torch.nn.InstanceNorm2d(half, { affine: true });
    this.BN = getNorm(norm, channels - half);
  }

  protected override forward(x: Tensor): Tensor {
    const [first, second] = torch.split(x, [...this.#sizes], 1);
    // libtorch normalises contiguous maps faster than it does the halves of a map; the copies go at once.
    const normalized = (norm: torch.nn.Module, half: Tensor): Tensor =>
      torch.scope(() => norm.call(half.contiguous()));
    return torch.cat([normalized(this.IN, first), normalized(this.BN, second)], 1);
  }
}
