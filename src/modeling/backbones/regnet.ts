import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { getNorm } from '../layers/norm.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained, type PublishedWeights } from './pretrained.js';
import { initConvolutions, type Renaming, renamed, SqueezeExcitation, stage, stem } from './regnet_layers.js';

type Tensor = torch.Tensor;

interface BlockOptions {
  stride: number;
  /** Channels in each group of the 3×3 convolution. */
  groupWidth: number;
  /** Whether squeeze-and-excitation follows the 3×3 convolution. */
  se: boolean;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/** Channels inside squeeze-and-excitation, for each that the block takes in. */
const SE_RATIO = 0.25;

// In the classes below, field names are those of the state dict and their order is its order.

/** What a RegNet block adds to its input: 1×1, grouped 3×3 and 1×1 convolutions, none of them narrower. */
class RegNetTransform extends torch.nn.Module {
  readonly a: torch.nn.Conv2d;
  readonly a_bn: torch.nn.Module;
  readonly a_relu = new torch.nn.ReLU({ inplace: true });
  readonly b: torch.nn.Conv2d;
  readonly b_bn: torch.nn.Module;
  readonly b_relu = new torch.nn.ReLU({ inplace: true });
  readonly se: SqueezeExcitation | undefined;
  readonly c: torch.nn.Conv2d;
  readonly c_bn: torch.nn.Module;

  constructor(inWidth: number, width: number, { stride, groupWidth, se, norm }: BlockOptions) {
    super();
    const groups = width / groupWidth;
    this.a = new torch.nn.Conv2d(inWidth, width, 1, { bias: false });
    this.a_bn = getNorm(norm, width);
    this.b = new torch.nn.Conv2d(width, width, 3, { stride, padding: 1, groups, bias: false });
    this.b_bn = getNorm(norm, width);
    if (se) {
      const relu = new torch.nn.ReLU({ inplace: true });
      this.se = new SqueezeExcitation(width, Math.round(inWidth * SE_RATIO), relu);
    }
    this.c = new torch.nn.Conv2d(width, width, 1, { bias: false });
    this.c_bn = getNorm(norm, width);
  }

  protected override forward(x: Tensor): Tensor {
    const { a, a_bn, a_relu, b, b_bn, b_relu, se, c, c_bn } = this;
    const excited = se === undefined ? [] : [se];
    return torch.nn.chain(x, [a, a_bn, a_relu, b, b_bn, b_relu, ...excited, c, c_bn]);
  }
}

/** A residual block; the shortcut is projected where the shapes of input and output differ. */
class RegNetBlock extends torch.nn.Module {
  readonly proj: torch.nn.Conv2d | undefined;
  readonly bn: torch.nn.Module | undefined;
  readonly f: RegNetTransform;
  readonly relu = new torch.nn.ReLU({ inplace: true });

  constructor(inWidth: number, width: number, options: BlockOptions) {
    super();
    const { stride, norm } = options;
    if (inWidth !== width || stride !== 1) {
      this.proj = new torch.nn.Conv2d(inWidth, width, 1, { stride, bias: false });
      this.bn = getNorm(norm, width);
    }
    this.f = new RegNetTransform(inWidth, width, options);
  }

  protected override forward(x: Tensor): Tensor {
    const { proj, bn } = this;
    const shortcut = proj === undefined || bn === undefined ? x : torch.nn.chain(x, [proj, bn]);
    return this.relu.call(this.f.call(x).add_(shortcut));
  }
}

type PerStage = readonly [number, number, number, number];

export interface RegNetOptions {
  /** Blocks in each stage. */
  depths: PerStage;
  /** Channels of each stage. */
  widths: PerStage;
  /** Channels in each group of the 3×3 convolutions. */
  groupWidth: number;
  /** Whether the blocks have squeeze-and-excitation: the Y family, without it X. */
  se: boolean;
  /** Stride of the last stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

const STEM_WIDTH = 32;

/**
 * RegNet (Radosavovic et al. 2020, "Designing network design spaces") without its classifier: images `[N, 3, H, W]`
 * to a map `[N, widths[3], h, w]`, where h is H/16 with a last stride of 1 and H/32 with 2.
 */
export class RegNet extends torch.nn.Module {
  readonly stem: torch.nn.Sequential;
  readonly s1: torch.nn.Sequential;
  readonly s2: torch.nn.Sequential;
  readonly s3: torch.nn.Sequential;
  readonly s4: torch.nn.Sequential;

  constructor({ depths, widths, groupWidth, se, lastStride, norm }: RegNetOptions) {
    super();
    const build = (i: number, stride: number): torch.nn.Sequential =>
      stage(depths[i], (isFirst) => {
        const inWidth = isFirst ? (widths[i - 1] ?? STEM_WIDTH) : widths[i];
        return new RegNetBlock(inWidth, widths[i], { stride: isFirst ? stride : 1, groupWidth, se, norm });
      });
    this.stem = stem(STEM_WIDTH, norm, 'relu', new torch.nn.ReLU({ inplace: true }));
    this.s1 = build(0, 2);
    this.s2 = build(1, 2);
    this.s3 = build(2, 2);
    this.s4 = build(3, lastStride);
    initConvolutions(this);
  }

  protected override forward(images: Tensor): Tensor {
    return torch.nn.chain(images, [this.stem, this.s1, this.s2, this.s3, this.s4]);
  }
}

/** From the names of torchvision, then of timm, to pycls's, which are FastReID's and ours. */
const RENAMINGS: readonly Renaming[] = [
  [/^stem\.0\./, 'stem.conv.'],
  [/^stem\.1\./, 'stem.bn.'],
  [/^trunk_output\.block(\d)\.block\d-(\d+)\./, (_, s: string, b: string) => `s${s}.b${Number(b) + 1}.`],
  [/\.proj\.0\./, '.proj.'],
  [/\.proj\.1\./, '.bn.'],
  [/\.f\.([abc])\.0\./, '.f.$1.'],
  [/\.f\.([abc])\.1\./, '.f.$1_bn.'],
  [/\.downsample\.conv\./, '.proj.'],
  [/\.downsample\.bn\./, '.bn.'],
  [/\.conv([123])\.conv\./, (_, i: string) => `.f.${'abc'[Number(i) - 1]}.`],
  [/\.conv([123])\.bn\./, (_, i: string) => `.f.${'abc'[Number(i) - 1]}_bn.`],
  [/(?:\.f)?\.se\.fc1\./, '.f.se.f_ex.0.'],
  [/(?:\.f)?\.se\.fc2\./, '.f.se.f_ex.2.'],
];

interface Variant extends PublishedWeights {
  depths: PerStage;
  widths: PerStage;
  groupWidth: number;
  se: boolean;
}

function variant(file: string, groupWidth: number, depths: PerStage, widths: PerStage): Variant {
  const url = `https://dl.fbaipublicfiles.com/pycls/dds_baselines/${file}_dds_8gpu.pyth`;
  const se = file.includes('RegNetY');
  return { depths, widths, groupWidth, se, url, convert: (state) => renamed(state, RENAMINGS) };
}

const VARIANTS: Record<string, Variant> = {
  '200x': variant('160905981/RegNetX-200MF', 8, [1, 1, 4, 7], [24, 56, 152, 368]),
  '200y': variant('176245422/RegNetY-200MF', 8, [1, 1, 4, 7], [24, 56, 152, 368]),
  '400x': variant('160905967/RegNetX-400MF', 16, [1, 2, 7, 12], [32, 64, 160, 384]),
  '400y': variant('160906449/RegNetY-400MF', 8, [1, 3, 6, 6], [48, 104, 208, 440]),
  '800x': variant('160906036/RegNetX-800MF', 16, [1, 3, 7, 5], [64, 128, 288, 672]),
  '800y': variant('160906567/RegNetY-800MF', 16, [1, 3, 8, 2], [64, 128, 320, 768]),
  '1600x': variant('160990626/RegNetX-1.6GF', 24, [2, 4, 10, 2], [72, 168, 408, 912]),
  '1600y': variant('160906681/RegNetY-1.6GF', 24, [2, 6, 17, 2], [48, 120, 336, 888]),
  '3200x': variant('160906139/RegNetX-3.2GF', 48, [2, 6, 15, 2], [96, 192, 432, 1008]),
  '3200y': variant('160906834/RegNetY-3.2GF', 24, [2, 5, 13, 1], [72, 216, 576, 1512]),
  '4000x': variant('160906383/RegNetX-4.0GF', 40, [2, 5, 14, 2], [80, 240, 560, 1360]),
  '4000y': variant('160906838/RegNetY-4.0GF', 64, [2, 6, 12, 2], [128, 192, 512, 1088]),
  '6400x': variant('161116590/RegNetX-6.4GF', 56, [2, 4, 10, 1], [168, 392, 784, 1624]),
  '6400y': variant('160907112/RegNetY-6.4GF', 72, [2, 7, 14, 2], [144, 288, 576, 1296]),
};

/**
 * `build_regnet_backbone`: reads DEPTH (`200x` to `6400y`: mega-FLOPs and family), LAST_STRIDE, NORM, PRETRAIN and
 * PRETRAIN_PATH of `MODEL.BACKBONE`. Weights may be pycls's, FastReID's, torchvision's or timm's.
 */
export function buildRegNet(cfg: Config, log: Log): RegNet {
  const { DEPTH, LAST_STRIDE, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const variant = variantOf(VARIANTS, DEPTH, 'build_regnet_backbone');
  noteUnused(cfg, log, 'build_regnet_backbone', ['LAST_STRIDE', 'NORM']);
  const model = new RegNet({ ...variant, lastStride: LAST_STRIDE, norm: NORM });
  if (PRETRAIN) loadPretrained(model, PRETRAIN_PATH, variant, log);
  return model;
}

BACKBONE_REGISTRY.register('build_regnet_backbone', buildRegNet);
