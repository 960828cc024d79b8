import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { getNorm } from '../layers/norm.js';
import { BACKBONE_REGISTRY } from './build.js';
import { loadPretrained, type PublishedWeights } from './pretrained.js';

type Tensor = torch.Tensor;

export interface BlockOptions {
  /** A name in NORM_REGISTRY. */
  norm: string;
  stride?: number;
  /** Brings the block's input to the shape of its output, where the two differ. */
  downsample?: torch.nn.Module;
}

/** A residual block; `expansion` is the number of its output channels for each of its `planes`. */
export interface BlockType {
  readonly expansion: number;
  new (inPlanes: number, planes: number, options: BlockOptions): torch.nn.Module;
}

// In the classes below, field names are those of the state dict and their order is its order.

/** Two 3×3 convolutions around a shortcut (He et al. 2016). */
export class BasicBlock extends torch.nn.Module {
  static readonly expansion = 1;
  readonly conv1: torch.nn.Conv2d;
  readonly bn1: torch.nn.Module;
  readonly conv2: torch.nn.Conv2d;
  readonly bn2: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly downsample: torch.nn.Module | undefined;

  constructor(inPlanes: number, planes: number, { norm, stride = 1, downsample }: BlockOptions) {
    super();
    this.conv1 = conv3x3(inPlanes, planes, stride);
    this.bn1 = getNorm(norm, planes);
    this.conv2 = conv3x3(planes, planes, 1);
    this.bn2 = getNorm(norm, planes);
    this.downsample = downsample;
  }

  protected override forward(x: Tensor): Tensor {
    let out = this.relu.call(this.bn1.call(this.conv1.call(x)));
    out = this.bn2.call(this.conv2.call(out));
    const shortcut = this.downsample === undefined ? x : this.downsample.call(x);
    return this.relu.call(out.add_(shortcut));
  }
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
  readonly downsample: torch.nn.Module | undefined;

  constructor(inPlanes: number, planes: number, { norm, stride = 1, downsample }: BlockOptions) {
    super();
    const outPlanes = planes * Bottleneck.expansion;
    this.conv1 = conv1x1(inPlanes, planes);
    this.bn1 = getNorm(norm, planes);
    this.conv2 = conv3x3(planes, planes, stride);
    this.bn2 = getNorm(norm, planes);
    this.conv3 = conv1x1(planes, outPlanes);
    this.bn3 = getNorm(norm, outPlanes);
    this.downsample = downsample;
  }

  protected override forward(x: Tensor): Tensor {
    let out = this.relu.call(this.bn1.call(this.conv1.call(x)));
    out = this.relu.call(this.bn2.call(this.conv2.call(out)));
    out = this.bn3.call(this.conv3.call(out));
    const shortcut = this.downsample === undefined ? x : this.downsample.call(x);
    return this.relu.call(out.add_(shortcut));
  }
}

function conv1x1(inPlanes: number, planes: number, stride = 1): torch.nn.Conv2d {
  return new torch.nn.Conv2d(inPlanes, planes, 1, { stride, bias: false });
}

function conv3x3(inPlanes: number, planes: number, stride: number): torch.nn.Conv2d {
  return new torch.nn.Conv2d(inPlanes, planes, 3, { stride, padding: 1, bias: false });
}

export interface ResNetOptions {
  block: BlockType;
  /** Number of blocks in each of the four stages. */
  layers: readonly [number, number, number, number];
  /** Stride of the last stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/**
 * ResNet without its classifier: images `[N, 3, H, W]` to a map `[N, 512 · expansion, h, w]`, where h is H/16
 * with a last stride of 1 and H/32 with 2. The stem's max-pool has no padding and rounds sizes up.
 */
export class ResNet extends torch.nn.Module {
  readonly conv1 = new torch.nn.Conv2d(3, 64, 7, { stride: 2, padding: 3, bias: false });
  readonly bn1: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly maxpool = new torch.nn.MaxPool2d(3, { stride: 2, ceilMode: true });
  readonly layer1: torch.nn.Sequential;
  readonly layer2: torch.nn.Sequential;
  readonly layer3: torch.nn.Sequential;
  readonly layer4: torch.nn.Sequential;
  #inPlanes = 64;

  constructor({ block, layers, lastStride, norm }: ResNetOptions) {
    super();
    this.bn1 = getNorm(norm, 64);
    this.layer1 = this.#stage(block, 64, layers[0], 1, norm);
    this.layer2 = this.#stage(block, 128, layers[1], 2, norm);
    this.layer3 = this.#stage(block, 256, layers[2], 2, norm);
    this.layer4 = this.#stage(block, 512, layers[3], lastStride, norm);
    for (const module of this.modules()) {
      if (module instanceof torch.nn.Conv2d) initByFanOut(module);
    }
  }

  #stage(Block: BlockType, planes: number, count: number, stride: number, norm: string): torch.nn.Sequential {
    const outPlanes = planes * Block.expansion;
    let downsample: torch.nn.Module | undefined;
    if (stride !== 1 || this.#inPlanes !== outPlanes) {
      downsample = new torch.nn.Sequential(
        conv1x1(this.#inPlanes, outPlanes, stride),
        getNorm(norm, outPlanes),
      );
    }
    const blocks = [new Block(this.#inPlanes, planes, { norm, stride, downsample })];
    while (blocks.length < count) blocks.push(new Block(outPlanes, planes, { norm }));
    this.#inPlanes = outPlanes;
    return new torch.nn.Sequential(...blocks);
  }

  protected override forward(images: Tensor): Tensor {
    // The stem's maps are the largest of all: a scope of their own frees them before the stages run.
    const stem = torch.scope(() => this.maxpool.call(this.relu.call(this.bn1.call(this.conv1.call(images)))));
    let x = this.layer1.call(stem);
    x = this.layer2.call(x);
    x = this.layer3.call(x);
    return this.layer4.call(x);
  }
}

/** Normal distribution whose variance is 2 / (kernel area · output channels). */
function initByFanOut(conv: torch.nn.Conv2d): void {
  const [outChannels, , height, width] = conv.weight.shape;
  torch.nn.init.normal_(conv.weight, 0, Math.sqrt(2 / (height * width * outChannels)));
}

interface Variant extends PublishedWeights {
  block: BlockType;
  layers: readonly [number, number, number, number];
}

const TORCHVISION = 'https://download.pytorch.org/models';

const VARIANTS: Record<string, Variant> = {
  '18x': { block: BasicBlock, layers: [2, 2, 2, 2], url: `${TORCHVISION}/resnet18-5c106cde.pth` },
  '34x': { block: BasicBlock, layers: [3, 4, 6, 3], url: `${TORCHVISION}/resnet34-333f7ec4.pth` },
  '50x': { block: Bottleneck, layers: [3, 4, 6, 3], url: `${TORCHVISION}/resnet50-19c8e357.pth` },
  '101x': { block: Bottleneck, layers: [3, 4, 23, 3], url: `${TORCHVISION}/resnet101-5d3b4d8f.pth` },
};

/** `build_resnet_backbone`: reads DEPTH, LAST_STRIDE, NORM, PRETRAIN and PRETRAIN_PATH of `MODEL.BACKBONE`. */
export function buildResNet(cfg: Config, log: Log): ResNet {
  const { DEPTH, LAST_STRIDE, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const variant = VARIANTS[DEPTH];
  if (variant === undefined) {
    const known = Object.keys(VARIANTS).join(', ');
    throw new Error(`MODEL.BACKBONE.DEPTH is '${DEPTH}'; build_resnet_backbone has ${known}`);
  }
  for (const option of ['WITH_IBN', 'WITH_SE', 'WITH_NL'] as const) {
    if (cfg.MODEL.BACKBONE[option]) {
      throw new Error(
        `MODEL.BACKBONE.${option} is True, but build_resnet_backbone does not have such blocks yet`,
      );
    }
  }
  const { block, layers } = variant;
  const model = new ResNet({ block, layers, lastStride: LAST_STRIDE, norm: NORM });
  if (PRETRAIN) loadPretrained(model, PRETRAIN_PATH, variant, log);
  return model;
}

BACKBONE_REGISTRY.register('build_resnet_backbone', buildResNet);
