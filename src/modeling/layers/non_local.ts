import * as torch from '../../torch/index.js';
import { getNorm } from './norm.js';

type Tensor = torch.Tensor;

/** Channels in which positions are compared: one, whatever the input has. FastReID's published weights are so. */
const INNER = 1;

/**
 * Non-local block (Wang et al. 2018, dot-product form) of `[N, C, H, W]`: adds to every position what all positions
 * say about it, the mean over j of (θᵢ·φⱼ) gⱼ. A new block changes nothing, since its last normalisation scales by 0.
 *
 * All pairs of positions are held, `[N, H·W, H·W]`. Summing over j first would do without them, but round otherwise
 * than FastReID does.
 */
export class NonLocal extends torch.nn.Module {
  readonly g: torch.nn.Conv2d;
  readonly W: torch.nn.Sequential;
  readonly theta: torch.nn.Conv2d;
  readonly phi: torch.nn.Conv2d;

  constructor(channels: number, norm: string) {
    super();
    const scale = getNorm(norm, channels);
    this.g = new torch.nn.Conv2d(channels, INNER, 1);
    this.W = new torch.nn.Sequential(new torch.nn.Conv2d(INNER, channels, 1), scale);
    this.theta = new torch.nn.Conv2d(channels, INNER, 1);
    this.phi = new torch.nn.Conv2d(channels, INNER, 1);
    for (const [name, tensor] of scale.stateDict()) {
      if (name === 'weight' || name === 'bias') torch.nn.init.zeros_(tensor);
    }
  }

  protected override forward(x: Tensor): Tensor {
    const [n, , height, width] = x.shape;
    const positions = height * width;
    const project = (layer: torch.nn.Conv2d): Tensor => layer.call(x).view([n, INNER, positions]);
    const g = project(this.g).transpose(1, 2);
    const theta = project(this.theta).transpose(1, 2);
    const said = torch.scope(() => theta.bmm(project(this.phi)).div_(positions).bmm(g));
    const y = said.transpose(1, 2).contiguous().view([n, INNER, height, width]);
    return this.W.call(y).add_(x);
  }
}
