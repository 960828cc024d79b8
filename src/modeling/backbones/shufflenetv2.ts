import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { convNorm } from './mobilenet_layers.js';
import { loadPretrained } from './pretrained.js';

type Tensor = torch.Tensor;

const relu = () => new torch.nn.ReLU({ inplace: true });

interface BlockOptions {
  /** Channels that go through the main branch. */
  inChannels: number;
  outChannels: number;
  norm: string;
  /** With 2, both branches see all channels; with 1, one half of the channels each, shuffled. */
  stride: 1 | 2;
}

class ShuffleV2Block extends torch.nn.Module {
  readonly branch_main: torch.nn.Sequential;
  readonly branch_proj: torch.nn.Sequential | undefined;

  constructor({ inChannels, outChannels, norm, stride }: BlockOptions) {
    super();
    const middle = outChannels / 2;
    this.branch_main = new torch.nn.Sequential(
      ...convNorm(inChannels, middle, { norm, activation: relu() }),
      ...convNorm(middle, middle, { kernel: 3, stride, groups: middle, norm }),
      ...convNorm(middle, outChannels - inChannels, { norm, activation: relu() }),
    );
    if (stride === 1) return;
    this.branch_proj = new torch.nn.Sequential(
      ...convNorm(inChannels, inChannels, { kernel: 3, stride, groups: inChannels, norm }),
      ...convNorm(inChannels, inChannels, { norm, activation: relu() }),
    );
  }

  protected override forward(x: Tensor): Tensor {
    if (this.branch_proj !== undefined) {
      return torch.cat([this.branch_proj.call(x), this.branch_main.call(x)], 1);
    }
    const [even, odd] = unshuffle(x);
    return torch.cat([even, this.branch_main.call(odd.contiguous())], 1);
  }
}

/** The even and the odd channels of `[N, C, H, W]`, `[N, C/2, H, W]` each, as views. */
function unshuffle(x: Tensor): Tensor[] {
  const [n, c, h, w] = x.shape;
  return x.view([n, c / 2, 2, h, w]).unbind(2);
}

const STEM_CHANNELS = 24;
const REPEATS = [4, 8, 4];

export interface ShuffleNetV2Options {
  /** Channels of the three stages and of the map that is returned. */
  channels: readonly [number, number, number, number];
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/** ShuffleNetV2 (Ma et al. 2018): images `[N, 3, H, W]` to a map `[N, channels[3], H/32, W/32]`. */
export class ShuffleNetV2 extends torch.nn.Module {
  readonly first_conv: torch.nn.Sequential;
  readonly maxpool = new torch.nn.MaxPool2d(3, { stride: 2, padding: 1 });
  readonly features: torch.nn.Sequential;
  readonly conv_last: torch.nn.Sequential;

  constructor({ channels, norm }: ShuffleNetV2Options) {
    super();
    const [a, b, c, last] = channels;
    this.first_conv = new torch.nn.Sequential(
      ...convNorm(3, STEM_CHANNELS, { kernel: 3, stride: 2, norm, activation: relu() }),
    );
    const blocks: ShuffleV2Block[] = [];
    let inChannels = STEM_CHANNELS;
    [a, b, c].forEach((outChannels, stage) => {
      blocks.push(new ShuffleV2Block({ inChannels, outChannels, norm, stride: 2 }));
      for (let i = 1; i < REPEATS[stage]; i++) {
        blocks.push(new ShuffleV2Block({ inChannels: outChannels / 2, outChannels, norm, stride: 1 }));
      }
      inChannels = outChannels;
    });
    this.features = new torch.nn.Sequential(...blocks);
    this.conv_last = new torch.nn.Sequential(...convNorm(c, last, { norm, activation: relu() }));
    for (const [path, module] of this.namedModules()) initialise(path, module);
  }

  protected override forward(images: Tensor): Tensor {
    const stem = torch.scope(() => this.maxpool.call(this.first_conv.call(images)));
    return this.conv_last.call(this.features.call(stem));
  }
}

function initialise(path: string, module: torch.nn.AnyModule): void {
  if (module instanceof torch.nn.Conv2d) {
    const std = path.startsWith('first_conv') ? 0.01 : 1 / module.weight.shape[1];
    torch.nn.init.normal_(module.weight, 0, std);
  } else if (module instanceof torch.nn.BatchNorm && module.bias !== null) {
    torch.nn.init.constant_(module.bias, 0.0001);
  }
}

interface Variant {
  channels: readonly [number, number, number, number];
}

const VARIANTS: Record<string, Variant> = {
  '0.5x': { channels: [48, 96, 192, 1024] },
  '1.0x': { channels: [116, 232, 464, 1024] },
  '1.5x': { channels: [176, 352, 704, 1024] },
  '2.0x': { channels: [244, 488, 976, 2048] },
};

const BUILDER = 'build_shufflenetv2_backbone';

/**
 * `build_shufflenetv2_backbone`: DEPTH 0.5x, 1.0x, 1.5x or 2.0x; honours NORM, PRETRAIN and PRETRAIN_PATH of
 * `MODEL.BACKBONE`. Published weights are Megvii's.
 */
export function buildShuffleNetV2(cfg: Config, log: Log): ShuffleNetV2 {
  const { DEPTH, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const { channels } = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['NORM']);
  const model = new ShuffleNetV2({ channels, norm: NORM });
  if (PRETRAIN) {
    const published = {
      url: 'https://github.com/megvii-model/ShuffleNet-Series/tree/master/ShuffleNetV2',
      file: `ShuffleNetV2.${DEPTH}.pth.tar`,
    };
    loadPretrained(model, PRETRAIN_PATH, published, log);
  }
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildShuffleNetV2);
