import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { getNorm } from '../layers/norm.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained, type PublishedWeights } from './pretrained.js';
import { initConvolutions, type Renaming, renamed, SqueezeExcitation, stage, stem } from './regnet_layers.js';

type Tensor = torch.Tensor;

/**
 * x · sigmoid(x), as two operators. `torch.nn.SiLU` is the same function in one, but its last digits differ from
 * those of the published models.
 */
class Swish extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    const gate = x.sigmoid();
    // The gradient needs the gate itself.
    return gate.requiresGrad ? x.mul(gate) : gate.mul_(x);
  }
}

interface MBConvOptions {
  /** Channels inside the block for each that it takes in. */
  expansion: number;
  /** Height and width of the depthwise convolution, odd. */
  kernel: number;
  stride: number;
  /** Probability that training leaves out what the block adds to an image's map. */
  dropConnect: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/** Channels inside squeeze-and-excitation, for each that the block takes in. */
const SE_RATIO = 0.25;

// In the classes below, field names are those of the state dict and their order is its order.

/** Inverted bottleneck: expansion, depthwise convolution, squeeze-and-excitation, projection. */
class MBConv extends torch.nn.Module {
  readonly exp: torch.nn.Conv2d | undefined;
  readonly exp_bn: torch.nn.Module | undefined;
  readonly exp_swish: Swish | undefined;
  readonly dwise: torch.nn.Conv2d;
  readonly dwise_bn: torch.nn.Module;
  readonly dwise_swish = new Swish();
  readonly se: SqueezeExcitation;
  readonly lin_proj: torch.nn.Conv2d;
  readonly lin_proj_bn: torch.nn.Module;
  readonly hasSkip: boolean;
  readonly dropConnect: number;

  constructor(inWidth: number, outWidth: number, options: MBConvOptions) {
    super();
    const { expansion, kernel, stride, dropConnect, norm } = options;
    const width = inWidth * expansion;
    if (expansion !== 1) {
      this.exp = new torch.nn.Conv2d(inWidth, width, 1, { bias: false });
      this.exp_bn = getNorm(norm, width);
      this.exp_swish = new Swish();
    }
    const padding = (kernel - 1) / 2;
    this.dwise = new torch.nn.Conv2d(width, width, kernel, { stride, padding, groups: width, bias: false });
    this.dwise_bn = getNorm(norm, width);
    this.se = new SqueezeExcitation(width, Math.floor(inWidth * SE_RATIO), new Swish());
    this.lin_proj = new torch.nn.Conv2d(width, outWidth, 1, { bias: false });
    this.lin_proj_bn = getNorm(norm, outWidth);
    this.hasSkip = stride === 1 && inWidth === outWidth;
    this.dropConnect = dropConnect;
  }

  protected override forward(x: Tensor): Tensor {
    const { exp, exp_bn, exp_swish, dwise, dwise_bn, dwise_swish, se, lin_proj, lin_proj_bn } = this;
    const layers = [exp, exp_bn, exp_swish, dwise, dwise_bn, dwise_swish, se, lin_proj, lin_proj_bn];
    const out = torch.nn.chain(
      x,
      layers.filter((layer) => layer !== undefined),
    );
    if (!this.hasSkip) return out;
    if (this.training && this.dropConnect > 0) dropWhole(out, this.dropConnect);
    return out.add_(x);
  }
}

/** Sets the maps `[N, C, h, w]` of some images to 0, each with probability `ratio`, and enlarges the others. */
function dropWhole(maps: Tensor, ratio: number): void {
  const kept = torch.empty([maps.shape[0], 1, 1, 1], { dtype: maps.dtype, device: maps.device });
  kept.bernoulli_(1 - ratio);
  maps.div_(1 - ratio).mul_(kept);
}

/** The last layer, as wide as the features: 1×1 convolution. */
class EffNetHead extends torch.nn.Module {
  readonly conv: torch.nn.Conv2d;
  readonly conv_bn: torch.nn.Module;
  readonly conv_swish = new Swish();

  constructor(inWidth: number, width: number, norm: string) {
    super();
    this.conv = new torch.nn.Conv2d(inWidth, width, 1, { bias: false });
    this.conv_bn = getNorm(norm, width);
  }

  protected override forward(x: Tensor): Tensor {
    return torch.nn.chain(x, [this.conv, this.conv_bn, this.conv_swish]);
  }
}

/** A number for each of the seven stages. */
type PerStage = readonly [number, number, number, number, number, number, number];

const STRIDES: PerStage = [1, 2, 2, 2, 1, 2, 1];
const KERNELS: PerStage = [3, 3, 5, 3, 5, 5, 3];
const EXPANSIONS: PerStage = [1, 6, 6, 6, 6, 6, 6];
/** The last stage with a stride, counted from 0. */
const LAST_STRIDED = 5;

export interface EffNetOptions {
  /** Channels of the first layer. */
  stemWidth: number;
  /** Blocks in each stage. */
  depths: PerStage;
  /** Channels of each stage. */
  widths: PerStage;
  /** Channels of the map that is returned. */
  headWidth: number;
  /** Stride of the sixth stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Probability that training leaves a residual block out for an image (default 0, as in FastReID). */
  dropConnect?: number;
}

/**
 * EfficientNet (Tan and Le 2019) without its classifier, as pycls trains it: images `[N, 3, H, W]` to a map
 * `[N, headWidth, h, w]`, where h is H/16 with a last stride of 1 and H/32 with 2.
 */
export class EffNet extends torch.nn.Module {
  readonly stem: torch.nn.Sequential;
  readonly s1: torch.nn.Sequential;
  readonly s2: torch.nn.Sequential;
  readonly s3: torch.nn.Sequential;
  readonly s4: torch.nn.Sequential;
  readonly s5: torch.nn.Sequential;
  readonly s6: torch.nn.Sequential;
  readonly s7: torch.nn.Sequential;
  readonly head: EffNetHead;

  constructor(options: EffNetOptions) {
    super();
    const { stemWidth, depths, widths, headWidth, lastStride, norm, dropConnect = 0 } = options;
    const build = (i: number): torch.nn.Sequential => {
      const stride = i === LAST_STRIDED ? lastStride : STRIDES[i];
      const common = { expansion: EXPANSIONS[i], kernel: KERNELS[i], dropConnect, norm };
      return stage(depths[i], (isFirst) =>
        isFirst
          ? new MBConv(widths[i - 1] ?? stemWidth, widths[i], { ...common, stride })
          : new MBConv(widths[i], widths[i], { ...common, stride: 1 }),
      );
    };
    this.stem = stem(stemWidth, norm, 'swish', new Swish());
    this.s1 = build(0);
    this.s2 = build(1);
    this.s3 = build(2);
    this.s4 = build(3);
    this.s5 = build(4);
    this.s6 = build(5);
    this.s7 = build(6);
    this.head = new EffNetHead(widths[6], headWidth, norm);
    initConvolutions(this);
  }

  protected override forward(images: Tensor): Tensor {
    const { stem, s1, s2, s3, s4, s5, s6, s7, head } = this;
    return torch.nn.chain(images, [stem, s1, s2, s3, s4, s5, s6, s7, head]);
  }
}

/** Layers of a block by the place torchvision and timm give them; those of the first stage lack the expansion. */
const TORCHVISION = ['exp', 'dwise', 'se', 'lin_proj'];
const TIMM_FIRST: Record<string, string> = {
  conv_dw: 'dwise',
  bn1: 'dwise_bn',
  conv_pw: 'lin_proj',
  bn2: 'lin_proj_bn',
};
const TIMM: Record<string, string> = {
  conv_pw: 'exp',
  bn1: 'exp_bn',
  conv_dw: 'dwise',
  bn2: 'dwise_bn',
  conv_pwl: 'lin_proj',
  bn3: 'lin_proj_bn',
};

const TIMM_SE: Record<string, string> = { reduce: 'se.f_ex.0', expand: 'se.f_ex.2' };

/** Replaces stage and block, counted from 0, and a layer's name in timm. */
function blockOfTimm(layers: Record<string, string>) {
  return (_: string, s: string, b: string, layer: string) =>
    `s${Number(s) + 1}.b${Number(b) + 1}.${layers[layer]}.`;
}

/** From the names of torchvision and of timm to pycls's, which are FastReID's and ours. */
const RENAMINGS: readonly Renaming[] = [
  [/^features\.0\.0\./, 'stem.conv.'],
  [/^features\.0\.1\./, 'stem.bn.'],
  [/^features\.8\.0\./, 'head.conv.'],
  [/^features\.8\.1\./, 'head.conv_bn.'],
  [
    /^features\.(\d)\.(\d+)\.block\.(\d)\.(0|1|fc1|fc2)\./,
    (_, s: string, b: string, layer: string, part: string) => {
      const name = TORCHVISION[Number(layer) + (s === '1' ? 1 : 0)];
      const parts: Record<string, string> = { 0: name, 1: `${name}_bn`, fc1: 'se.f_ex.0', fc2: 'se.f_ex.2' };
      return `s${s}.b${Number(b) + 1}.${parts[part]}.`;
    },
  ],
  [/^conv_stem\./, 'stem.conv.'],
  [/^bn1\./, 'stem.bn.'],
  [/^conv_head\./, 'head.conv.'],
  [/^bn2\./, 'head.conv_bn.'],
  [/^blocks\.(\d)\.(\d+)\.se\.conv_(reduce|expand)\./, blockOfTimm(TIMM_SE)],
  [/^blocks\.(0)\.(\d+)\.(conv_dw|conv_pw|bn[12])\./, blockOfTimm(TIMM_FIRST)],
  [/^blocks\.(\d)\.(\d+)\.(conv_dw|conv_pwl?|bn[123])\./, blockOfTimm(TIMM)],
];

interface Variant
  extends PublishedWeights,
    Pick<EffNetOptions, 'stemWidth' | 'depths' | 'widths' | 'headWidth'> {}

function variant(
  file: string,
  stemWidth: number,
  headWidth: number,
  depths: PerStage,
  widths: PerStage,
): Variant {
  const url = `https://dl.fbaipublicfiles.com/pycls/dds_baselines/${file}_dds_8gpu.pyth`;
  return { stemWidth, headWidth, depths, widths, url, convert: (state) => renamed(state, RENAMINGS) };
}

const VARIANTS: Record<string, Variant> = {
  b0: variant('161305613/EN-B0', 32, 1280, [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
  b1: variant('161304979/EN-B1', 32, 1280, [2, 3, 3, 4, 4, 5, 2], [16, 24, 40, 80, 112, 192, 320]),
  b2: variant('161305015/EN-B2', 32, 1408, [2, 3, 3, 4, 4, 5, 2], [16, 24, 48, 88, 120, 208, 352]),
  b3: variant('161304979/EN-B3', 40, 1536, [2, 3, 3, 5, 5, 6, 2], [24, 32, 48, 96, 136, 232, 384]),
  b4: variant('161305098/EN-B4', 48, 1792, [2, 4, 4, 6, 6, 8, 2], [24, 32, 56, 112, 160, 272, 448]),
  b5: variant('161304979/EN-B5', 48, 2048, [3, 5, 5, 7, 7, 9, 3], [24, 40, 64, 128, 176, 304, 512]),
};

const BUILDER = 'build_effnet_backbone';

/**
 * `build_effnet_backbone`: DEPTH b0 to b5; honours LAST_STRIDE, NORM, PRETRAIN and PRETRAIN_PATH of `MODEL.BACKBONE`.
 * Weights may be pycls's, FastReID's, torchvision's or timm's.
 */
export function buildEffNet(cfg: Config, log: Log): EffNet {
  const { DEPTH, LAST_STRIDE, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const variant = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['LAST_STRIDE', 'NORM']);
  const model = new EffNet({ ...variant, lastStride: LAST_STRIDE, norm: NORM });
  if (PRETRAIN) loadPretrained(model, PRETRAIN_PATH, variant, log);
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildEffNet);
