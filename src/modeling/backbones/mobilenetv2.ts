import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { convNorm, makeDivisible } from './mobilenet_layers.js';
import { mobileNetV2Names } from './mobilenet_names.js';
import { loadPretrained } from './pretrained.js';

type Tensor = torch.Tensor;

const relu6 = () => new torch.nn.ReLU6({ inplace: true });

/** Widening 1×1, depth-wise 3×3 and narrowing 1×1 convolution; a shortcut around them where shapes allow. */
class InvertedResidual extends torch.nn.Module {
  readonly conv: torch.nn.Sequential;
  readonly #identity: boolean;

  constructor(inChannels: number, outChannels: number, norm: string, stride: number, expansion: number) {
    super();
    const hidden = Math.round(inChannels * expansion);
    this.#identity = stride === 1 && inChannels === outChannels;
    const widen = expansion === 1 ? [] : convNorm(inChannels, hidden, { norm, activation: relu6() });
    this.conv = new torch.nn.Sequential(
      ...widen,
      ...convNorm(hidden, hidden, { kernel: 3, stride, groups: hidden, norm, activation: relu6() }),
      ...convNorm(hidden, outChannels, { norm }),
    );
  }

  protected override forward(x: Tensor): Tensor {
    const out = this.conv.call(x);
    return this.#identity ? out.add_(x) : out;
  }
}

/** Stages: expansion, channels, blocks, stride of the first block. */
const STAGES = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

const OUT_CHANNELS = 1280;

export interface MobileNetV2Options {
  /** Factor on the channels of every layer but the last. */
  width: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/** MobileNetV2 (Sandler et al. 2018): images `[N, 3, H, W]` to a map `[N, 1280, H/32, W/32]`. */
export class MobileNetV2 extends torch.nn.Module {
  readonly features: torch.nn.Sequential;
  readonly conv: torch.nn.Sequential;

  constructor({ width, norm }: MobileNetV2Options) {
    super();
    const scaled = (channels: number) => makeDivisible(channels * width, width === 0.1 ? 4 : 8);
    let channels = scaled(32);
    const layers: torch.nn.Module[] = [
      new torch.nn.Sequential(...convNorm(3, channels, { kernel: 3, stride: 2, norm, activation: relu6() })),
    ];
    for (const [expansion, stageChannels, blocks, stride] of STAGES) {
      const outChannels = scaled(stageChannels);
      for (let i = 0; i < blocks; i++) {
        layers.push(new InvertedResidual(channels, outChannels, norm, i === 0 ? stride : 1, expansion));
        channels = outChannels;
      }
    }
    this.features = new torch.nn.Sequential(...layers);
    this.conv = new torch.nn.Sequential(...convNorm(channels, OUT_CHANNELS, { norm, activation: relu6() }));
    for (const module of this.modules()) {
      if (!(module instanceof torch.nn.Conv2d)) continue;
      const [outChannels, , height, width] = module.weight.shape;
      torch.nn.init.normal_(module.weight, 0, Math.sqrt(2 / (height * width * outChannels)));
    }
  }

  protected override forward(images: Tensor): Tensor {
    return this.conv.call(this.features.call(images));
  }
}

interface Variant {
  width: number;
  url: string;
}

const WEIGHTS = 'https://github.com/d-li14/mobilenetv2.pytorch/raw/master/pretrained';

const VARIANTS: Record<string, Variant> = {
  '1.0x': { width: 1, url: `${WEIGHTS}/mobilenetv2_1.0-0c6065bc.pth` },
  '0.75x': { width: 0.75, url: `${WEIGHTS}/mobilenetv2_0.75-dace9791.pth` },
  '0.5x': { width: 0.5, url: `${WEIGHTS}/mobilenetv2_0.5-eaa6f9ad.pth` },
  '0.35x': { width: 0.35, url: `${WEIGHTS}/mobilenetv2_0.35-b2e15951.pth` },
  '0.25x': { width: 0.25, url: `${WEIGHTS}/mobilenetv2_0.25-b61d2159.pth` },
  '0.1x': { width: 0.1, url: `${WEIGHTS}/mobilenetv2_0.1-7d1d638a.pth` },
};

const BUILDER = 'build_mobilenetv2_backbone';

/**
 * `build_mobilenetv2_backbone`: DEPTH 1.0x, 0.75x, 0.5x, 0.35x, 0.25x or 0.1x; honours NORM, PRETRAIN and
 * PRETRAIN_PATH of `MODEL.BACKBONE`. Weights may be d-li14's, which FastReID takes, torchvision's or timm's. NORM is
 * honoured throughout; in FastReID every block but the first ends with plain batch normalisation whatever NORM says.
 */
export function buildMobileNetV2(cfg: Config, log: Log): MobileNetV2 {
  const { DEPTH, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const { width, url } = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['NORM']);
  const model = new MobileNetV2({ width, norm: NORM });
  if (PRETRAIN) loadPretrained(model, PRETRAIN_PATH, { url, convert: mobileNetV2Names }, log);
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildMobileNetV2);
