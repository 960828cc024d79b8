import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { IBN } from '../layers/ibn.js';
import { getNorm } from '../layers/norm.js';
import { SqueezeExcite } from '../layers/squeeze_excite.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained } from './pretrained.js';
import {
  type BlockOptions,
  type BlockType,
  initByFanOut,
  type NonLocalCounts,
  ResidualNet,
} from './resnet_base.js';
import { splitForIbn } from './resnet_pretrained.js';

type Tensor = torch.Tensor;

// In the classes below, field names are those of the state dict and their order is its order.

/** Two 3×3 convolutions around a shortcut (He et al. 2016). */
export class BasicBlock extends torch.nn.Module {
  static readonly expansion = 1;
  readonly conv1: torch.nn.Conv2d;
  readonly bn1: torch.nn.Module;
  readonly conv2: torch.nn.Conv2d;
  readonly bn2: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly se: torch.nn.Module;
  readonly downsample: torch.nn.Module | undefined;

  constructor(inPlanes: number, planes: number, options: BlockOptions) {
    super();
    const { norm, ibn = false, se = false, stride = 1, downsample } = options;
    this.conv1 = new torch.nn.Conv2d(inPlanes, planes, 3, { stride, padding: 1, bias: false });
    this.bn1 = ibn ? new IBN(planes, norm) : getNorm(norm, planes);
    this.conv2 = new torch.nn.Conv2d(planes, planes, 3, { padding: 1, bias: false });
    this.bn2 = getNorm(norm, planes);
    this.se = se ? new SqueezeExcite(planes) : new torch.nn.Identity();
    this.downsample = downsample;
  }

  protected override forward(x: Tensor): Tensor {
    const { conv1, bn1, relu, conv2, bn2, se, downsample } = this;
    const out = torch.nn.chain(x, [conv1, bn1, relu, conv2, bn2, se]);
    return relu.call(out.add_(downsample === undefined ? x : downsample.call(x)));
  }
}

export interface BottleneckOptions extends BlockOptions {
  /** Channels of the 3×3 convolution (default: `planes`), and its groups (default 1). */
  width?: number;
  groups?: number;
}

/** 1×1, 3×3 and 1×1 convolutions around a shortcut; the stride is at the 3×3 one. */
export class Bottleneck extends torch.nn.Module {
  static readonly expansion = 4;
  readonly conv1: torch.nn.Conv2d;
  readonly bn1: torch.nn.Module;
  readonly conv2: torch.nn.Conv2d;
  readonly bn2: torch.nn.Module;
  readonly conv3: torch.nn.Conv2d;
  readonly bn3: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly se: torch.nn.Module;
  readonly downsample: torch.nn.Module | undefined;

  constructor(inPlanes: number, planes: number, options: BottleneckOptions) {
    super();
    const { norm, ibn = false, se = false, stride = 1, downsample, width = planes, groups = 1 } = options;
    const outPlanes = planes * Bottleneck.expansion;
    this.conv1 = new torch.nn.Conv2d(inPlanes, width, 1, { bias: false });
    this.bn1 = ibn ? new IBN(width, norm) : getNorm(norm, width);
    this.conv2 = new torch.nn.Conv2d(width, width, 3, { stride, padding: 1, groups, bias: false });
    this.bn2 = getNorm(norm, width);
    this.conv3 = new torch.nn.Conv2d(width, outPlanes, 1, { bias: false });
    this.bn3 = getNorm(norm, outPlanes);
    this.se = se ? new SqueezeExcite(outPlanes) : new torch.nn.Identity();
    this.downsample = downsample;
  }

  protected override forward(x: Tensor): Tensor {
    const { conv1, bn1, conv2, bn2, conv3, bn3, relu, se, downsample } = this;
    const out = torch.nn.chain(x, [conv1, bn1, relu, conv2, bn2, relu, conv3, bn3, se]);
    return relu.call(out.add_(downsample === undefined ? x : downsample.call(x)));
  }
}

export interface ResNetOptions {
  block: BlockType;
  /** Number of blocks in each of the four stages. */
  layers: readonly [number, number, number, number];
  /** Stride of the last stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Instance-batch normalisation in the first three stages (default false). */
  ibn?: boolean;
  /** Squeeze-and-excitation in every block (default false). */
  se?: boolean;
  /** After how many of the last blocks of each stage there are non-local blocks (default none). */
  nonLocal?: NonLocalCounts;
}

/**
 * ResNet without its classifier (He et al. 2016): images `[N, 3, H, W]` to a map `[N, 512 · expansion, h, w]`, where
 * h is H/16 with a last stride of 1 and H/32 with 2. The stem's max-pool has no padding and rounds sizes up.
 */
export class ResNet extends ResidualNet {
  constructor({ block, layers, lastStride, norm, ibn = false, se, nonLocal }: ResNetOptions) {
    const maxpool = new torch.nn.MaxPool2d(3, { stride: 2, ceilMode: true });
    super({ block, layers, lastStride, norm, ibn: [ibn, ibn, ibn, false], se, maxpool });
    initByFanOut(this);
    if (nonLocal !== undefined) this.addNonLocal(nonLocal, norm);
  }
}

interface Variant {
  block: BlockType;
  layers: readonly [number, number, number, number];
  nonLocal?: NonLocalCounts;
  /** Where the weights are published: without and with IBN, and with IBN and SE. */
  url: string;
  ibnUrl: string;
  seIbnUrl?: string;
}

const TORCHVISION = 'https://download.pytorch.org/models';
const IBN_NET = 'https://github.com/XingangPan/IBN-Net/releases/download/v1.0';

const VARIANTS: Record<string, Variant> = {
  '18x': {
    block: BasicBlock,
    layers: [2, 2, 2, 2],
    url: `${TORCHVISION}/resnet18-5c106cde.pth`,
    ibnUrl: `${IBN_NET}/resnet18_ibn_a-2f571257.pth`,
  },
  '34x': {
    block: BasicBlock,
    layers: [3, 4, 6, 3],
    url: `${TORCHVISION}/resnet34-333f7ec4.pth`,
    ibnUrl: `${IBN_NET}/resnet34_ibn_a-94bc1577.pth`,
  },
  '50x': {
    block: Bottleneck,
    layers: [3, 4, 6, 3],
    nonLocal: [0, 2, 3, 0],
    url: `${TORCHVISION}/resnet50-19c8e357.pth`,
    ibnUrl: `${IBN_NET}/resnet50_ibn_a-d9d0bb7b.pth`,
  },
  '101x': {
    block: Bottleneck,
    layers: [3, 4, 23, 3],
    nonLocal: [0, 2, 9, 0],
    url: `${TORCHVISION}/resnet101-5d3b4d8f.pth`,
    ibnUrl: `${IBN_NET}/resnet101_ibn_a-59ea0ac6.pth`,
    seIbnUrl: `${IBN_NET}/se_resnet101_ibn_a-fabed4e2.pth`,
  },
};

const BUILDER = 'build_resnet_backbone';

/**
 * `build_resnet_backbone`: DEPTH 18x, 34x, 50x or 101x; honours LAST_STRIDE, NORM, WITH_IBN, WITH_SE, WITH_NL (50x
 * and 101x), PRETRAIN and PRETRAIN_PATH of `MODEL.BACKBONE`.
 */
export function buildResNet(cfg: Config, log: Log): ResNet {
  const { DEPTH, LAST_STRIDE, NORM, WITH_IBN, WITH_SE, WITH_NL, PRETRAIN, PRETRAIN_PATH } =
    cfg.MODEL.BACKBONE;
  const variant = variantOf(VARIANTS, DEPTH, BUILDER);
  const { block, layers, nonLocal } = variant;
  const honoured = ['LAST_STRIDE', 'NORM', 'WITH_IBN', 'WITH_SE'] as const;
  if (nonLocal === undefined) noteUnused(cfg, log, `${BUILDER} ${DEPTH}`, honoured);
  else noteUnused(cfg, log, BUILDER, [...honoured, 'WITH_NL']);
  const model = new ResNet({
    block,
    layers,
    lastStride: LAST_STRIDE,
    norm: NORM,
    ibn: WITH_IBN,
    se: WITH_SE,
    nonLocal: WITH_NL ? nonLocal : undefined,
  });
  if (PRETRAIN) {
    // Where none are published with SE, those without it come nearest; the SE layers keep their initial values.
    const plain = WITH_IBN ? variant.ibnUrl : variant.url;
    const url = WITH_SE && WITH_IBN ? (variant.seIbnUrl ?? plain) : plain;
    loadPretrained(model, PRETRAIN_PATH, { url, convert: splitForIbn }, log);
  }
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildResNet);
