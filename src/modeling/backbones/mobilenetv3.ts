import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { initKaiming } from '../layers/init.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { convNorm, makeDivisible } from './mobilenet_layers.js';
import { mobileNetV3Names } from './mobilenet_names.js';
import { loadPretrained } from './pretrained.js';

type Tensor = torch.Tensor;

/** Squeeze-and-excitation with a hard sigmoid; a quarter of the channels in the middle. */
class SqueezeExcitation extends torch.nn.Module {
  readonly fc1: torch.nn.Conv2d;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly fc2: torch.nn.Conv2d;

  constructor(channels: number) {
    super();
    const inner = makeDivisible(Math.floor(channels / 4), 8);
    this.fc1 = new torch.nn.Conv2d(channels, inner, 1);
    this.fc2 = new torch.nn.Conv2d(inner, channels, 1);
  }

  protected override forward(x: Tensor): Tensor {
    const means = torch.adaptive_avg_pool2d(x, [1, 1]);
    const scale = this.fc2.call(this.relu.call(this.fc1.call(means)));
    return torch.hardsigmoid_(scale).mul(x);
  }
}

/** One row of the paper's tables 1 and 2. */
interface Bottleneck {
  inChannels: number;
  kernel: number;
  expanded: number;
  outChannels: number;
  squeeze: boolean;
  /** Hard swish instead of ReLU. */
  hardSwish: boolean;
  stride: number;
}

class InvertedResidual extends torch.nn.Module {
  readonly block: torch.nn.Sequential;
  readonly #identity: boolean;

  constructor(options: Bottleneck, norm: string) {
    super();
    const { inChannels, kernel, expanded, outChannels, squeeze, hardSwish, stride } = options;
    this.#identity = stride === 1 && inChannels === outChannels;
    const activation = () => new (hardSwish ? torch.nn.Hardswish : torch.nn.ReLU)({ inplace: true });
    const layers: torch.nn.Module[] = [];
    if (expanded !== inChannels) {
      layers.push(
        new torch.nn.Sequential(...convNorm(inChannels, expanded, { norm, activation: activation() })),
      );
    }
    const depthWise = { kernel, stride, groups: expanded, norm, activation: activation() };
    layers.push(new torch.nn.Sequential(...convNorm(expanded, expanded, depthWise)));
    if (squeeze) layers.push(new SqueezeExcitation(expanded));
    layers.push(new torch.nn.Sequential(...convNorm(expanded, outChannels, { norm })));
    this.block = new torch.nn.Sequential(...layers);
  }

  protected override forward(x: Tensor): Tensor {
    const out = this.block.call(x);
    return this.#identity ? out.add_(x) : out;
  }
}

export interface MobileNetV3Options {
  bottlenecks: readonly Bottleneck[];
  outChannels: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/** MobileNetV3 (Howard et al. 2019): images `[N, 3, H, W]` to a map `[N, outChannels, H/32, W/32]`. */
export class MobileNetV3 extends torch.nn.Module {
  readonly features: torch.nn.Sequential;
  readonly conv: torch.nn.Sequential;

  constructor({ bottlenecks, outChannels, norm }: MobileNetV3Options) {
    super();
    const hardSwish = () => new torch.nn.Hardswish({ inplace: true });
    const stem = convNorm(3, bottlenecks[0].inChannels, {
      kernel: 3,
      stride: 2,
      norm,
      activation: hardSwish(),
    });
    const last = bottlenecks[bottlenecks.length - 1].outChannels;
    // In an order of its own: the order in which weights are drawn decides what a seed gives.
    const layers = [
      new torch.nn.Sequential(...stem),
      ...bottlenecks.map((b) => new InvertedResidual(b, norm)),
    ];
    const widen = convNorm(last, 6 * last, { norm, activation: hardSwish() });
    this.features = new torch.nn.Sequential(...layers, new torch.nn.Sequential(...widen));
    const activation = new torch.nn.ReLU6({ inplace: true });
    this.conv = new torch.nn.Sequential(...convNorm(6 * last, outChannels, { norm, activation }));
    for (const module of this.modules()) if (module instanceof torch.nn.Conv2d) initKaiming(module);
  }

  protected override forward(images: Tensor): Tensor {
    return this.conv.call(this.features.call(images));
  }
}

/** Rows as text: input and output channels, kernel, expanded channels, SE, RE (ReLU) or HS (hard swish), stride. */
function table(rows: string): Bottleneck[] {
  return rows
    .trim()
    .split('\n')
    .map((row) => {
      const [inChannels, kernel, expanded, outChannels, squeeze, activation, stride] = row
        .trim()
        .split(/\s+/);
      return {
        inChannels: Number(inChannels),
        kernel: Number(kernel),
        expanded: Number(expanded),
        outChannels: Number(outChannels),
        squeeze: squeeze === 'SE',
        hardSwish: activation === 'HS',
        stride: Number(stride),
      };
    });
}

const LARGE = table(`
   16 3  16  16  - RE 1
   16 3  64  24  - RE 2
   24 3  72  24  - RE 1
   24 5  72  40 SE RE 2
   40 5 120  40 SE RE 1
   40 5 120  40 SE RE 1
   40 3 240  80  - HS 2
   80 3 200  80  - HS 1
   80 3 184  80  - HS 1
   80 3 184  80  - HS 1
   80 3 480 112 SE HS 1
  112 3 672 112 SE HS 1
  112 5 672 160 SE HS 2
  160 5 960 160 SE HS 1
  160 5 960 160 SE HS 1`);

const SMALL = table(`
  16 3  16 16 SE RE 2
  16 3  72 24  - RE 2
  24 3  88 24  - RE 1
  24 5  96 40 SE HS 2
  40 5 240 40 SE HS 1
  40 5 240 40 SE HS 1
  40 5 120 48 SE HS 1
  48 5 144 48 SE HS 1
  48 5 288 96 SE HS 2
  96 5 576 96 SE HS 1
  96 5 576 96 SE HS 1`);

interface Variant {
  bottlenecks: readonly Bottleneck[];
  outChannels: number;
  url: string;
}

const TORCHVISION = 'https://download.pytorch.org/models';

const VARIANTS: Record<string, Variant> = {
  Large: { bottlenecks: LARGE, outChannels: 1280, url: `${TORCHVISION}/mobilenet_v3_large-8738ca79.pth` },
  Small: { bottlenecks: SMALL, outChannels: 1024, url: `${TORCHVISION}/mobilenet_v3_small-047dcff4.pth` },
};

const BUILDER = 'build_mobilenetv3_backbone';

/**
 * `build_mobilenetv3_backbone`: DEPTH Large or Small; honours NORM, PRETRAIN and PRETRAIN_PATH of `MODEL.BACKBONE`.
 * Weights may be torchvision's or timm's. Neither has the last convolution, which keeps its initial values.
 */
export function buildMobileNetV3(cfg: Config, log: Log): MobileNetV3 {
  const { DEPTH, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const { bottlenecks, outChannels, url } = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['NORM']);
  const model = new MobileNetV3({ bottlenecks, outChannels, norm: NORM });
  if (PRETRAIN) loadPretrained(model, PRETRAIN_PATH, { url, convert: mobileNetV3Names }, log);
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildMobileNetV3);
