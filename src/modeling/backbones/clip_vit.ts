import type { Config } from '../../config/index.js';
import type { Log } from '../build.js';
import { BACKBONE_REGISTRY, variantOf } from './build.js';
import { buildTimmVit, type TimmVariant } from './timm_vit.js';
import type { VisionTransformer } from './vision_transformer.js';

const NAME = 'build_clip_vit_backbone';

/** Of these, `projection` says how wide it is where FEAT_DIM asks for it. */
type ClipVariant = TimmVariant & { projection: number };

function clip(
  options: Pick<ClipVariant, 'dim' | 'depth' | 'heads' | 'patchSize' | 'projection' | 'url'>,
): ClipVariant {
  return { preNorm: true, normEps: 1e-5, activation: 'quick_gelu', ...options };
}

const BASE = clip({
  dim: 768,
  depth: 12,
  heads: 12,
  patchSize: 16,
  projection: 512,
  url: 'https://huggingface.co/openai/clip-vit-base-patch16/resolve/main/model.safetensors',
});

const VARIANTS: Readonly<Record<string, ClipVariant>> = {
  base: BASE,
  base_gelu: {
    ...BASE,
    activation: 'gelu',
    url: 'https://huggingface.co/timm/vit_base_patch16_clip_224.laion2b/resolve/main/model.safetensors',
  },
  large: clip({
    dim: 1024,
    depth: 24,
    heads: 16,
    patchSize: 14,
    projection: 768,
    url: 'https://huggingface.co/openai/clip-vit-large-patch14/resolve/main/model.safetensors',
  }),
};

/**
 * `build_clip_vit_backbone`: the image transformer of CLIP (Radford et al. 2021): ViT-B/16 (`base`) and ViT-L/14
 * (`large`) of OpenAI; `base_gelu` is ViT-B/16 as OpenCLIP trained it on LAION and DataComp, with the exact GELU.
 * Returns the normalised class token, `[N, 768 | 1024, 1, 1]`; where FEAT_DIM is 512 (base) or 768 (large), that
 * token's projection into the space that images and texts share. Loads files of OpenCLIP, Hugging Face and timm.
 * Reads of `MODEL.BACKBONE` FEAT_DIM and what build_vit_backbone does. The weights were trained with other
 * MODEL.PIXEL_MEAN and PIXEL_STD than ImageNet's: 255 · (0.48145466, 0.4578275, 0.40821073) and
 * 255 · (0.26862954, 0.26130258, 0.27577711).
 */
export function buildClipVit(cfg: Config, log: Log): VisionTransformer {
  const { DEPTH, FEAT_DIM } = cfg.MODEL.BACKBONE;
  const variant = variantOf(VARIANTS, DEPTH, NAME);
  const projection = FEAT_DIM === variant.projection ? FEAT_DIM : 0;
  return buildTimmVit(cfg, log, NAME, { ...variant, projection });
}

BACKBONE_REGISTRY.register(NAME, buildClipVit);
