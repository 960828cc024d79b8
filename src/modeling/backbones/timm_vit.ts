import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { truncatedNormal_ } from '../layers/trunc_normal.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained } from './pretrained.js';
import { VisionTransformer, type VisionTransformerOptions } from './vision_transformer.js';
import { HONOURED, tokenOptions } from './vit_options.js';
import { convertVit } from './vit_weights.js';

/** What tells the published transformers apart. */
export interface TimmVariant
  extends Pick<
    VisionTransformerOptions,
    | 'patchSize'
    | 'dim'
    | 'depth'
    | 'heads'
    | 'activation'
    | 'normEps'
    | 'layerScale'
    | 'registerTokens'
    | 'preNorm'
    | 'projection'
  > {
  /** Where its weights are published. */
  url: string;
}

/**
 * A transformer by timm's structure and names, from the options of `MODEL.BACKBONE` that all of them have. A
 * STRIDE_SIZE above the patch's size, like the default for patches of less than 16 pixels, means patches side by
 * side.
 */
export function buildTimmVit(
  cfg: Config,
  log: Log,
  name: string,
  { url, ...variant }: TimmVariant,
): VisionTransformer {
  const { STRIDE_SIZE, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  noteUnused(cfg, log, name, HONOURED);
  const shared = tokenOptions(cfg, log);
  const [vertical, horizontal] = STRIDE_SIZE.map((stride) => Math.min(stride, variant.patchSize));
  const model = new VisionTransformer({
    ...shared,
    ...variant,
    stride: [vertical, horizontal],
    mlpRatio: 4,
    resize: 'bicubic',
    fusedAttention: true,
  });
  noteUnseen(model, shared.imageSize, log);
  draw(model);
  if (PRETRAIN) {
    loadPretrained(model, PRETRAIN_PATH, { url, convert: (state) => convertVit(state, model, log) }, log);
  }
  return model;
}

/** Says when patches side by side leave out a border of the image, and which sizes do not. */
function noteUnseen(
  { patch_embed: embed }: VisionTransformer,
  size: readonly [number, number],
  log: Log,
): void {
  const [patch] = embed.proj.kernelSize;
  const [bottom, right] = embed.unseen(size);
  if (embed.proj.stride.some((stride) => stride !== patch) || (bottom === 0 && right === 0)) return;
  const nearest = size.map((pixels) => patch * Math.max(1, Math.round(pixels / patch)));
  log(
    `Patches of ${patch} pixels leave out ${bottom} rows and ${right} columns of images of [${size.join(', ')}]; ` +
      `INPUT.SIZE_TRAIN and INPUT.SIZE_TEST of [${nearest.join(', ')}] would fit`,
  );
}

/** First values as timm draws them. */
function draw(model: VisionTransformer): void {
  truncatedNormal_(model.pos_embed, 0.02);
  for (const token of [model.cls_token, model.reg_token]) {
    if (token !== undefined) torch.nn.init.normal_(token, 0, 1e-6);
  }
  if (model.sie_embed !== undefined) truncatedNormal_(model.sie_embed, 0.02);
  for (const module of model.modules()) {
    if (!(module instanceof torch.nn.Linear)) continue;
    truncatedNormal_(module.weight, 0.02);
    if (module.bias !== null) torch.nn.init.zeros_(module.bias);
  }
}

const SMALL = { dim: 384, depth: 12, heads: 6 };
const BASE = { dim: 768, depth: 12, heads: 12 };
const LARGE = { dim: 1024, depth: 24, heads: 16 };

const META = 'https://dl.fbaipublicfiles.com';

function dinov2(letter: string, size: typeof SMALL, registerTokens: number): TimmVariant {
  const model = `dinov2_vit${letter}14`;
  const file = `${model}${registerTokens > 0 ? `_reg${registerTokens}` : ''}_pretrain.pth`;
  return { ...size, patchSize: 14, layerScale: 1e-5, registerTokens, url: `${META}/dinov2/${model}/${file}` };
}

function dino(size: typeof SMALL, patchSize: number, file: string): TimmVariant {
  return { ...size, patchSize, url: `${META}/dino/${file}/${file}.pth` };
}

const DINOV2: Readonly<Record<string, TimmVariant>> = {
  small: dinov2('s', SMALL, 0),
  base: dinov2('b', BASE, 0),
  large: dinov2('l', LARGE, 0),
  small_reg4: dinov2('s', SMALL, 4),
  base_reg4: dinov2('b', BASE, 4),
  large_reg4: dinov2('l', LARGE, 4),
};

const PLAIN: Readonly<Record<string, TimmVariant>> = {
  tiny: {
    dim: 192,
    depth: 12,
    heads: 3,
    patchSize: 16,
    url: `${META}/deit/deit_tiny_patch16_224-a1311bcf.pth`,
  },
  small: dino(SMALL, 16, 'dino_deitsmall16_pretrain'),
  base: dino(BASE, 16, 'dino_vitbase16_pretrain'),
  large: { ...LARGE, patchSize: 16, url: `${META}/mae/pretrain/mae_pretrain_vit_large.pth` },
  small_patch8: dino(SMALL, 8, 'dino_deitsmall8_pretrain'),
  base_patch8: dino(BASE, 8, 'dino_vitbase8_pretrain'),
};

/**
 * `build_dinov2_backbone`: DINOv2's transformers (Oquab et al. 2023), patches of 14 pixels; `_reg4` are those with
 * register tokens. timm calls them vit_small_patch14_dinov2, vit_small_patch14_reg4_dinov2, … Returns the class
 * token, `[N, 384 | 768 | 1024, 1, 1]`, or with TOKENS `patch` a map. Loads timm's, Meta's and Hugging Face's files.
 * Reads of `MODEL.BACKBONE` what build_vit_backbone does.
 */
export function buildDinov2(cfg: Config, log: Log): VisionTransformer {
  const name = 'build_dinov2_backbone';
  return buildTimmVit(cfg, log, name, variantOf(DINOV2, cfg.MODEL.BACKBONE.DEPTH, name));
}

/**
 * `build_timm_vit_backbone`: timm's vit_{tiny,small,base,large}_patch16_224 and vit_{small,base}_patch8_224 for any
 * image size: the structure of AugReg, DeiT, DINO and MAE weights. Otherwise as build_dinov2_backbone.
 */
export function buildPlainVit(cfg: Config, log: Log): VisionTransformer {
  const name = 'build_timm_vit_backbone';
  return buildTimmVit(cfg, log, name, variantOf(PLAIN, cfg.MODEL.BACKBONE.DEPTH, name));
}

BACKBONE_REGISTRY.register('build_dinov2_backbone', buildDinov2);
BACKBONE_REGISTRY.register('build_timm_vit_backbone', buildPlainVit);
