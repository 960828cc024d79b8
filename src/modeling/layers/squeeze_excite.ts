import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/**
 * Squeeze-and-excitation (Hu et al. 2018): scales every channel of `[N, C, H, W]` by a factor in (0, 1) that two
 * linear layers without bias, with `C / reduction` channels between them, make of the channels' means.
 */
export class SqueezeExcite extends torch.nn.Module {
  readonly fc: torch.nn.Sequential;

  constructor(channels: number, reduction = 16) {
    super();
    const inner = Math.floor(channels / reduction);
    this.fc = new torch.nn.Sequential(
      new torch.nn.Linear(channels, inner, { bias: false }),
      new torch.nn.ReLU({ inplace: true }),
      new torch.nn.Linear(inner, channels, { bias: false }),
      new torch.nn.Sigmoid(),
    );
  }

  protected override forward(x: Tensor): Tensor {
    const [n, c] = x.shape;
    const means = torch.adaptive_avg_pool2d(x, [1, 1]).view([n, c]);
    return x.mul(this.fc.call(means).view([n, c, 1, 1]));
  }
}
