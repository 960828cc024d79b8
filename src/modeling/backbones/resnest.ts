import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { getNorm } from '../layers/norm.js';
import { SplitAttentionConv2d } from '../layers/split_attention.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained, type PublishedWeights } from './pretrained.js';
import { initByFanOut } from './resnet_base.js';

type Tensor = torch.Tensor;

const EXPANSION = 4;

interface SplitBlockOptions {
  norm: string;
  stride: number;
  dilation: number;
  /** Whether a 3×3 mean, which takes the stride over, follows the split attention. */
  average: boolean;
  downsample?: torch.nn.Module;
}

/** A bottleneck with split attention in place of its 3×3 convolution. */
class SplitBlock extends torch.nn.Module {
  readonly conv1: torch.nn.Conv2d;
  readonly bn1: torch.nn.Module;
  readonly conv2: SplitAttentionConv2d;
  readonly avd_layer: torch.nn.Module;
  readonly conv3: torch.nn.Conv2d;
  readonly bn3: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly downsample: torch.nn.Module | undefined;

  constructor(inPlanes: number, planes: number, options: SplitBlockOptions) {
    super();
    const { norm, stride, dilation, average, downsample } = options;
    const outPlanes = planes * EXPANSION;
    this.conv1 = new torch.nn.Conv2d(inPlanes, planes, 1, { bias: false });
    this.bn1 = getNorm(norm, planes);
    this.conv2 = new SplitAttentionConv2d(planes, planes, 3, {
      norm,
      stride: average ? 1 : stride,
      padding: dilation,
      dilation,
      bias: false,
    });
    this.avd_layer = average ? new torch.nn.AvgPool2d(3, { stride, padding: 1 }) : new torch.nn.Identity();
    this.conv3 = new torch.nn.Conv2d(planes, outPlanes, 1, { bias: false });
    this.bn3 = getNorm(norm, outPlanes);
    this.downsample = downsample;
  }

  protected override forward(x: Tensor): Tensor {
    const { conv1, bn1, relu, conv2, avd_layer, conv3, bn3, downsample } = this;
    const out = torch.nn.chain(x, [conv1, bn1, relu, conv2, avd_layer, conv3, bn3]);
    return relu.call(out.add_(downsample === undefined ? x : downsample.call(x)));
  }
}

export interface ResNeStOptions {
  /** Number of blocks in each of the four stages. */
  layers: readonly [number, number, number, number];
  /** Channels of the stem's first two convolutions; its third has twice as many. */
  stemWidth: number;
  /**
   * Stride of the last stage: 2 as in image classification; 1 for a feature map of twice the height and width, with
   * blocks that are dilated by 2 after the first one.
   */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/**
 * ResNeSt without its classifier (Zhang et al. 2020: two splits, deep stem, shortcuts by averages): images
 * `[N, 3, H, W]` to a map `[N, 2048, h, w]`, where h is H/16 with a last stride of 1 and H/32 with 2.
 */
export class ResNeSt extends torch.nn.Module {
  readonly conv1: torch.nn.Sequential;
  readonly bn1: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly maxpool = new torch.nn.MaxPool2d(3, { stride: 2, padding: 1 });
  readonly layer1: torch.nn.Sequential;
  readonly layer2: torch.nn.Sequential;
  readonly layer3: torch.nn.Sequential;
  readonly layer4: torch.nn.Sequential;

  constructor({ layers, stemWidth, lastStride, norm }: ResNeStOptions) {
    super();
    const inPlanes = stemWidth * 2;
    this.conv1 = new torch.nn.Sequential(
      conv3x3(3, stemWidth, 2),
      getNorm(norm, stemWidth),
      new torch.nn.ReLU({ inplace: true }),
      conv3x3(stemWidth, stemWidth, 1),
      getNorm(norm, stemWidth),
      new torch.nn.ReLU({ inplace: true }),
      conv3x3(stemWidth, inPlanes, 1),
    );
    this.bn1 = getNorm(norm, inPlanes);
    const dilation = lastStride === 1 ? 2 : 1;
    // The first stage follows the stem's pooling: nothing is averaged in it.
    this.layer1 = makeStage(inPlanes, 64, layers[0], { norm, stride: 1, dilation: 1, average: false });
    this.layer2 = makeStage(256, 128, layers[1], { norm, stride: 2, dilation: 1, average: true });
    this.layer3 = makeStage(512, 256, layers[2], { norm, stride: 2, dilation: 1, average: true });
    this.layer4 = makeStage(1024, 512, layers[3], { norm, stride: lastStride, dilation, average: true });
    initByFanOut(this);
  }

  protected override forward(images: Tensor): Tensor {
    const { conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4 } = this;
    return torch.nn.chain(images, [conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4]);
  }
}

function conv3x3(inPlanes: number, planes: number, stride: number): torch.nn.Conv2d {
  return new torch.nn.Conv2d(inPlanes, planes, 3, { stride, padding: 1, bias: false });
}

/** `options` are those of the first block, except that only the later ones are dilated. */
function makeStage(
  inPlanes: number,
  planes: number,
  count: number,
  options: SplitBlockOptions,
): torch.nn.Sequential {
  const { norm, stride, dilation } = options;
  const outPlanes = planes * EXPANSION;
  const downsample = new torch.nn.Sequential(
    // A mean over one position is that position.
    stride === 1
      ? new torch.nn.Identity()
      : new torch.nn.AvgPool2d(stride, { stride, ceilMode: true, countIncludePad: false }),
    new torch.nn.Conv2d(inPlanes, outPlanes, 1, { bias: false }),
    getNorm(norm, outPlanes),
  );
  const blocks = [new SplitBlock(inPlanes, planes, { ...options, dilation: 1, downsample })];
  while (blocks.length < count) {
    blocks.push(new SplitBlock(outPlanes, planes, { norm, stride: 1, dilation, average: false }));
  }
  return new torch.nn.Sequential(...blocks);
}

interface Variant extends PublishedWeights {
  layers: readonly [number, number, number, number];
  stemWidth: number;
}

const RELEASE = 'https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1';

const VARIANTS: Record<string, Variant> = {
  '50x': { layers: [3, 4, 6, 3], stemWidth: 32, url: `${RELEASE}/resnest50-528c19ca.pth` },
  '101x': { layers: [3, 4, 23, 3], stemWidth: 64, url: `${RELEASE}/resnest101-22405ba7.pth` },
  '200x': { layers: [3, 24, 36, 3], stemWidth: 64, url: `${RELEASE}/resnest200-75117900.pth` },
  '269x': { layers: [3, 30, 48, 8], stemWidth: 64, url: `${RELEASE}/resnest269-0cc87c48.pth` },
};

const BUILDER = 'build_resnest_backbone';

/**
 * `build_resnest_backbone`: DEPTH 50x, 101x, 200x or 269x; honours LAST_STRIDE, NORM, PRETRAIN and PRETRAIN_PATH of
 * `MODEL.BACKBONE`.
 */
export function buildResNeSt(cfg: Config, log: Log): ResNeSt {
  const { DEPTH, LAST_STRIDE, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const variant = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['LAST_STRIDE', 'NORM']);
  const { layers, stemWidth } = variant;
  const model = new ResNeSt({ layers, stemWidth, lastStride: LAST_STRIDE, norm: NORM });
  if (PRETRAIN) loadPretrained(model, PRETRAIN_PATH, variant, log);
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildResNeSt);
