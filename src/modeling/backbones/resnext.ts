import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained } from './pretrained.js';
import { Bottleneck } from './resnet.js';
import { type BlockOptions, initByFanOut, type NonLocalCounts, ResidualNet } from './resnet_base.js';
import { splitForIbn } from './resnet_pretrained.js';

const GROUPS = 32;
/** Channels of each group for 64 planes. */
const GROUP_WIDTH = 4;

/** A bottleneck whose 3×3 convolution has 32 groups of 4 channels for every 64 planes (Xie et al. 2017, form C). */
export class ResNeXtBottleneck extends Bottleneck {
  constructor(inPlanes: number, planes: number, options: BlockOptions) {
    const width = Math.floor((planes * GROUP_WIDTH) / 64) * GROUPS;
    super(inPlanes, planes, { ...options, width, groups: GROUPS });
  }
}

export interface ResNeXtOptions {
  /** Number of blocks in each of the four stages. */
  layers: readonly [number, number, number, number];
  /** Stride of the last stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Instance-batch normalisation, in all four stages (default false). */
  ibn?: boolean;
  /** After how many of the last blocks of each stage there are non-local blocks (default none). */
  nonLocal?: NonLocalCounts;
}

/**
 * ResNeXt 32×4d without its classifier (Xie et al. 2017): images `[N, 3, H, W]` to a map `[N, 2048, h, w]`, where h
 * is H/16 with a last stride of 1 and H/32 with 2. Unlike FastReID's ResNet it has instance-batch normalisation in
 * the last stage too, and a stem whose max-pool is padded.
 */
export class ResNeXt extends ResidualNet {
  constructor({ layers, lastStride, norm, ibn = false, nonLocal }: ResNeXtOptions) {
    const maxpool = new torch.nn.MaxPool2d(3, { stride: 2, padding: 1 });
    super({ block: ResNeXtBottleneck, layers, lastStride, norm, ibn: [ibn, ibn, ibn, ibn], maxpool });
    // As published: the stem is drawn twice, which a seed's later numbers depend on.
    torch.nn.init.normal_(this.conv1.weight);
    initByFanOut(this);
    if (nonLocal !== undefined) this.addNonLocal(nonLocal, norm);
  }
}

interface Variant {
  layers: readonly [number, number, number, number];
  url?: string;
  ibnUrl?: string;
}

const IBN_NET = 'https://github.com/XingangPan/IBN-Net/releases/download/v1.0';
const GLUON = 'https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1';

const VARIANTS: Record<string, Variant> = {
  '50x': { layers: [3, 4, 6, 3], url: 'https://download.pytorch.org/models/resnext50_32x4d-7cdf4587.pth' },
  '101x': {
    layers: [3, 4, 23, 3],
    url: `${GLUON}/gluon_resnext101_32x4d-b253c8c4.pth`,
    ibnUrl: `${IBN_NET}/resnext101_ibn_a-6ace051d.pth`,
  },
  '152x': { layers: [3, 8, 36, 3] },
};

const NON_LOCAL: NonLocalCounts = [0, 2, 3, 0];
const BUILDER = 'build_resnext_backbone';

/**
 * `build_resnext_backbone`: DEPTH 50x, 101x or 152x; honours LAST_STRIDE, NORM, WITH_IBN, WITH_NL, PRETRAIN and
 * PRETRAIN_PATH of `MODEL.BACKBONE`.
 */
export function buildResNeXt(cfg: Config, log: Log): ResNeXt {
  const { DEPTH, LAST_STRIDE, NORM, WITH_IBN, WITH_NL, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const variant = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['LAST_STRIDE', 'NORM', 'WITH_IBN', 'WITH_NL']);
  const model = new ResNeXt({
    layers: variant.layers,
    lastStride: LAST_STRIDE,
    norm: NORM,
    ibn: WITH_IBN,
    nonLocal: WITH_NL ? NON_LOCAL : undefined,
  });
  if (PRETRAIN) {
    const url = (WITH_IBN ? variant.ibnUrl : undefined) ?? variant.url;
    if (url === undefined && PRETRAIN_PATH === '') {
      throw new Error(
        `MODEL.BACKBONE.PRETRAIN is True, but no weights of ${BUILDER} ${DEPTH} are published; name a file by ` +
          'MODEL.BACKBONE.PRETRAIN_PATH, or set MODEL.BACKBONE.PRETRAIN to False',
      );
    }
    const published = { url: url ?? `no place that is known for ${DEPTH}`, convert };
    loadPretrained(model, PRETRAIN_PATH, published, log);
  }
  return model;
}

/** Contrastively trained weights are those of an `encoder`; published ones lack IBN in the last stage. */
function convert(state: Map<string, torch.Tensor>, model: torch.nn.AnyModule): Map<string, torch.Tensor> {
  const named = new Map([...state].map(([key, tensor]) => [key.replace(/^encoder\./, ''), tensor]));
  return splitForIbn(named, model);
}

BACKBONE_REGISTRY.register(BUILDER, buildResNeXt);
