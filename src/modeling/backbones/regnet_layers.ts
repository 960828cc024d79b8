import * as torch from '../../torch/index.js';
import { getNorm } from '../layers/norm.js';

type Tensor = torch.Tensor;
type TensorModule = torch.nn.TensorModule;

/** What RegNet and EfficientNet have in common. */

/** Scales the channels of a map `[N, C, h, w]` by factors computed from their means (Hu et al. 2018). */
export class SqueezeExcitation extends torch.nn.Module {
  readonly avg_pool = new torch.nn.AdaptiveAvgPool2d(1);
  readonly f_ex: torch.nn.Sequential;

  /** @param width channels between the two layers that compute the factors, where `activation` is applied */
  constructor(channels: number, width: number, activation: TensorModule) {
    super();
    this.f_ex = new torch.nn.Sequential(
      new torch.nn.Conv2d(channels, width, 1),
      activation,
      new torch.nn.Conv2d(width, channels, 1),
      new torch.nn.Sigmoid(),
    );
  }

  protected override forward(x: Tensor): Tensor {
    return x.mul(this.f_ex.call(this.avg_pool.call(x)));
  }
}

/** The first layer, from images to `channels` maps of half the height and width, and the `activation` of its end. */
export function stem(
  channels: number,
  norm: string,
  name: string,
  activation: TensorModule,
): torch.nn.Sequential {
  const conv = new torch.nn.Conv2d(3, channels, 3, { stride: 2, padding: 1, bias: false });
  return named([
    ['conv', conv],
    ['bn', getNorm(norm, channels)],
    [name, activation],
  ]);
}

/** `depth` blocks named b1, b2, …; `block` builds one, told whether it is the first. */
export function stage(depth: number, block: (isFirst: boolean) => TensorModule): torch.nn.Sequential {
  return named(Array.from({ length: depth }, (_, i) => [`b${i + 1}`, block(i === 0)]));
}

function named(modules: [string, TensorModule][]): torch.nn.Sequential {
  return new torch.nn.Sequential(new Map(modules));
}

/** Draws the weights of all convolutions from N(0, 2 / (kernel area · output channels)). */
export function initConvolutions(root: torch.nn.AnyModule): void {
  for (const module of root.modules()) {
    if (!(module instanceof torch.nn.Conv2d)) continue;
    const [height, width] = module.kernelSize;
    torch.nn.init.normal_(module.weight, 0, Math.sqrt(2 / (height * width * module.outChannels)));
  }
}

/** A pattern of state-dict names, and what its first match in a name is replaced by. */
export type Renaming = readonly [RegExp, string | ((match: string, ...groups: string[]) => string)];

/** The tensors of a file under other names: all renamings, in turn, on every name. */
export function renamed(state: Map<string, Tensor>, renamings: readonly Renaming[]): Map<string, Tensor> {
  const rename = (key: string): string =>
    // `replace` has one signature for texts and one for functions.
    renamings.reduce((name, [pattern, to]) => name.replace(pattern, to as string), key);
  return new Map([...state].map(([key, tensor]) => [rename(key), tensor]));
}
