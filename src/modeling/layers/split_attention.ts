import * as torch from '../../torch/index.js';
import { getNorm } from './norm.js';

type Tensor = torch.Tensor;

export interface SplitAttentionOptions {
  /** A name in NORM_REGISTRY. */
  norm: string;
  stride?: number;
  padding?: number;
  dilation?: number;
  /** Cardinality: groups within each split. */
  groups?: number;
  bias?: boolean;
  /** Number of splits: maps between which the attention chooses, channel by channel. */
  radix?: number;
}

const REDUCTION = 4;
const FEWEST_INNER = 32;

/**
 * Split-attention convolution (Zhang et al. 2020, ResNeSt): `[N, inChannels, H, W]` to `[N, channels, h, w]`. A
 * convolution makes `radix` maps; their sum decides how much each of them contributes to each channel.
 */
export class SplitAttentionConv2d extends torch.nn.Module {
  readonly conv: torch.nn.Conv2d;
  readonly bn0: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly fc1: torch.nn.Conv2d;
  readonly bn1: torch.nn.Module;
  readonly fc2: torch.nn.Conv2d;
  readonly #channels: number;
  readonly #groups: number;
  readonly #radix: number;

  constructor(inChannels: number, channels: number, kernelSize: number, options: SplitAttentionOptions) {
    super();
    const { norm, stride = 1, padding = 0, dilation = 1, groups = 1, bias = true, radix = 2 } = options;
    const inner = Math.max(Math.floor((inChannels * radix) / REDUCTION), FEWEST_INNER);
    this.#channels = channels;
    this.#groups = groups;
    this.#radix = radix;
    this.conv = new torch.nn.Conv2d(inChannels, channels * radix, kernelSize, {
      stride,
      padding,
      dilation,
      groups: groups * radix,
      bias,
    });
    this.bn0 = getNorm(norm, channels * radix);
    this.fc1 = new torch.nn.Conv2d(channels, inner, 1, { groups });
    this.bn1 = getNorm(norm, inner);
    this.fc2 = new torch.nn.Conv2d(inner, channels * radix, 1, { groups });
  }

  protected override forward(x: Tensor): Tensor {
    const maps = torch.split(torch.nn.chain(x, [this.conv, this.bn0, this.relu]), this.#channels, 1);
    const weights = torch.split(this.#weights(maps), this.#channels, 1);
    const out = maps[0].mul(weights[0]);
    for (let i = 1; i < maps.length; i++) torch.scope(() => void out.add_(maps[i].mul(weights[i])));
    return out;
  }

  /** How much of every channel of every map: `[N, channels · radix, 1, 1]`, summing to 1 over the maps. */
  #weights(maps: readonly Tensor[]): Tensor {
    return torch.scope(() => {
      const means = torch.scope(() =>
        torch.adaptive_avg_pool2d(
          maps.reduce((sum, map) => sum.add(map)),
          [1, 1],
        ),
      );
      const scores = torch.nn.chain(means, [this.fc1, this.bn1, this.relu, this.fc2]);
      const n = scores.shape[0];
      if (this.#radix === 1) return scores.sigmoid();
      // The convolutions' groups are outermost, the splits are to be.
      const bySplit = scores.view([n, this.#groups, this.#radix, -1]).transpose(1, 2);
      return bySplit.softmax(1).reshape([n, -1, 1, 1]);
    });
  }
}
