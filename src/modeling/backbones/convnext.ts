import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { DropPath, dropPathRates } from '../layers/drop_path.js';
import { LayerNorm2d } from '../layers/layer_norm_2d.js';
import { Mlp } from '../layers/mlp.js';
import { truncatedNormal_ } from '../layers/trunc_normal.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { timmConvNeXtNames } from './convnext_names.js';
import { loadPretrained, type PublishedWeights } from './pretrained.js';

type Tensor = torch.Tensor;

const NAME = 'build_convnext_backbone';
const NORM_EPS = 1e-6;
/** First value of the factors on the residual branches. */
const LAYER_SCALE = 1e-6;

// In the classes below, field names are those of timm's state dict.

/** Depthwise 7×7 convolution, normalisation and an MLP over channels, around a shortcut: `[N, C, H, W]` as it was. */
export class ConvNeXtBlock extends torch.nn.Module {
  /** Learned factors on the branch, `[C]`. */
  readonly gamma: torch.nn.Parameter;
  readonly conv_dw: torch.nn.Conv2d;
  readonly norm: torch.nn.LayerNorm;
  readonly mlp: Mlp;
  readonly drop_path: DropPath;

  constructor(channels: number, dropPath: number) {
    super();
    this.conv_dw = new torch.nn.Conv2d(channels, channels, 7, { padding: 3, groups: channels });
    this.norm = new torch.nn.LayerNorm(channels, { eps: NORM_EPS });
    this.mlp = new Mlp({ dim: channels, hiddenDim: 4 * channels });
    this.gamma = new torch.nn.Parameter(torch.full([channels], LAYER_SCALE, { dtype: torch.float32 }));
    this.drop_path = new DropPath(dropPath);
  }

  protected override forward(x: Tensor): Tensor {
    const normalized = torch.scope(() => this.norm.call(this.conv_dw.call(x).permute([0, 2, 3, 1])));
    const branch = this.mlp
      .call(normalized)
      .permute([0, 3, 1, 2])
      .mul(this.gamma.view([1, -1, 1, 1]));
    return this.drop_path.call(branch).add_(x);
  }
}

/** Blocks at one resolution, behind a normalisation and a 2×2 convolution where channels or resolution change. */
class ConvNeXtStage extends torch.nn.Module {
  readonly downsample: torch.nn.Sequential | undefined;
  readonly blocks: torch.nn.Sequential;

  constructor(inChannels: number, channels: number, stride: number, dropPaths: readonly number[]) {
    super();
    if (inChannels !== channels) {
      // With a stride of 1, zeros at the right and at the bottom keep the size.
      const options = stride === 1 ? ({ padding: 'same' } as const) : { stride };
      this.downsample = new torch.nn.Sequential(
        new LayerNorm2d(inChannels, { eps: NORM_EPS }),
        new torch.nn.Conv2d(inChannels, channels, 2, options),
      );
    }
    this.blocks = new torch.nn.Sequential(...dropPaths.map((p) => new ConvNeXtBlock(channels, p)));
  }

  protected override forward(x: Tensor): Tensor {
    const { downsample, blocks } = this;
    return torch.nn.chain(x, downsample === undefined ? blocks : [downsample, ...blocks]);
  }
}

export interface ConvNeXtOptions {
  /** Number of blocks in each of the four stages. */
  depths: readonly [number, number, number, number];
  /** Channels of each stage. */
  dims: readonly [number, number, number, number];
  /** Stride of the last stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride?: number;
  /** Probability of leaving out the branch of the last block for a sample; falls evenly to 0 at the first. */
  dropPath?: number;
}

/**
 * ConvNeXt without its classifier (Liu et al. 2022): images `[N, 3, H, W]` to a map `[N, dims[3], h, w]`, where h is
 * H/16 with a last stride of 1 and H/32 with 2, rounded down. As timm's `forward_features`, the map is not
 * normalised: that is part of timm's head.
 */
export class ConvNeXt extends torch.nn.Module {
  readonly stem: torch.nn.Sequential;
  readonly stages: torch.nn.Sequential;

  constructor({ depths, dims, lastStride = 2, dropPath = 0 }: ConvNeXtOptions) {
    super();
    this.stem = new torch.nn.Sequential(
      new torch.nn.Conv2d(3, dims[0], 4, { stride: 4 }),
      new LayerNorm2d(dims[0], { eps: NORM_EPS }),
    );
    const rates = dropPathRates(
      dropPath,
      depths.reduce((sum, depth) => sum + depth),
    );
    const strides = [1, 2, 2, lastStride];
    this.stages = new torch.nn.Sequential(
      ...depths.map((depth, i) => {
        return new ConvNeXtStage(dims[Math.max(0, i - 1)], dims[i], strides[i], rates.splice(0, depth));
      }),
    );
    for (const module of this.modules()) {
      if (!(module instanceof torch.nn.Conv2d || module instanceof torch.nn.Linear)) continue;
      truncatedNormal_(module.weight, 0.02);
      if (module.bias !== null) torch.nn.init.zeros_(module.bias);
    }
  }

  protected override forward(images: Tensor): Tensor {
    // Contiguous, since pooling layers may look at a map in another shape.
    return torch.nn.chain(images, [...this.stem, ...this.stages]).contiguous();
  }
}

type Variant = PublishedWeights & Pick<ConvNeXtOptions, 'depths' | 'dims'>;

const META = 'https://dl.fbaipublicfiles.com/convnext';

const VARIANTS: Readonly<Record<string, Variant>> = {
  tiny: { depths: [3, 3, 9, 3], dims: [96, 192, 384, 768], url: `${META}/convnext_tiny_22k_224.pth` },
  small: { depths: [3, 3, 27, 3], dims: [96, 192, 384, 768], url: `${META}/convnext_small_22k_224.pth` },
  base: { depths: [3, 3, 27, 3], dims: [128, 256, 512, 1024], url: `${META}/convnext_base_22k_224.pth` },
};

/**
 * `build_convnext_backbone`: reads DEPTH (tiny, small, base), LAST_STRIDE, DROP_PATH_RATIO, PRETRAIN and
 * PRETRAIN_PATH of `MODEL.BACKBONE`. Loads files of timm, Meta and torchvision. FEAT_DIM is 768, for base 1024.
 */
export function buildConvNeXt(cfg: Config, log: Log): ConvNeXt {
  const { DEPTH, LAST_STRIDE, DROP_PATH_RATIO, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const { url, ...variant } = variantOf(VARIANTS, DEPTH, NAME);
  noteUnused(cfg, log, NAME, ['LAST_STRIDE', 'DROP_PATH_RATIO']);
  const model = new ConvNeXt({ ...variant, lastStride: LAST_STRIDE, dropPath: DROP_PATH_RATIO });
  if (PRETRAIN) loadPretrained(model, PRETRAIN_PATH, { url, convert: timmConvNeXtNames }, log);
  return model;
}

BACKBONE_REGISTRY.register(NAME, buildConvNeXt);
