import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import type { PatchEmbed } from '../layers/patch_embed.js';
import { truncatedNormal_ } from '../layers/trunc_normal.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained, type PublishedWeights } from './pretrained.js';
import { VisionTransformer, type VisionTransformerOptions } from './vision_transformer.js';
import { HONOURED, tokenOptions } from './vit_options.js';
import { convertVit } from './vit_weights.js';

const NAME = 'build_vit_backbone';

interface Variant
  extends PublishedWeights,
    Pick<VisionTransformerOptions, 'depth' | 'heads' | 'mlpRatio' | 'qkvBias' | 'attentionScale'> {}

const TIMM = 'https://github.com/huggingface/pytorch-image-models/releases/download';

const VARIANTS: Readonly<Record<string, Variant>> = {
  // timm's first small transformer, which is as wide as the base one; its scale ignores the heads.
  small: {
    depth: 8,
    heads: 8,
    mlpRatio: 3,
    qkvBias: false,
    attentionScale: 768 ** -0.5,
    url: `${TIMM}/v0.1-weights/vit_small_p16_224-15ec54c9.pth`,
  },
  base: {
    depth: 12,
    heads: 12,
    mlpRatio: 4,
    url: `${TIMM}/v0.1-vitjx/jx_vit_base_p16_224-80ecf9dd.pth`,
  },
};

/**
 * `build_vit_backbone`: FastReID's vision transformer with patches of 16 pixels, which returns the class token,
 * `[N, 768, 1, 1]`, for POOL_LAYER `Identity`. Reads of `MODEL.BACKBONE`: DEPTH, STRIDE_SIZE, DROP_RATIO,
 * ATT_DROP_RATE, DROP_PATH_RATIO, SIE_CAMERAS, SIE_COE, TOKENS, PRETRAIN and PRETRAIN_PATH.
 */
export function buildVit(cfg: Config, log: Log): VisionTransformer {
  const { DEPTH, STRIDE_SIZE, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const { url, ...variant } = variantOf(VARIANTS, DEPTH, NAME);
  noteUnused(cfg, log, NAME, HONOURED);
  const options: VisionTransformerOptions = {
    ...tokenOptions(cfg, log),
    ...variant,
    patchSize: 16,
    stride: [STRIDE_SIZE[0], STRIDE_SIZE[1]],
    dim: 768,
    resize: 'bilinear',
  };
  const model = new VisionTransformer(options, drawPatches);
  if (model.sie_embed !== undefined) truncatedNormal_(model.sie_embed, 0.02);
  truncatedNormal_(model.cls_token, 0.02);
  truncatedNormal_(model.pos_embed, 0.02);
  model.apply(drawLinear);
  if (PRETRAIN) {
    loadPretrained(model, PRETRAIN_PATH, { url, convert: (state) => convertVit(state, model, log) }, log);
  }
  return model;
}

/** Normal distribution whose variance is 2 / (patch area · output channels). */
function drawPatches({ proj }: PatchEmbed): void {
  const [channels, , height, width] = proj.weight.shape;
  torch.nn.init.normal_(proj.weight, 0, Math.sqrt(2 / (height * width * channels)));
}

function drawLinear(module: torch.nn.AnyModule): void {
  if (!(module instanceof torch.nn.Linear)) return;
  truncatedNormal_(module.weight, 0.02);
  if (module.bias !== null) torch.nn.init.zeros_(module.bias);
}

BACKBONE_REGISTRY.register(NAME, buildVit);
