import { type Config, getCfg } from '../../config/index.js';
import { Registry } from '../../registry.js';
import type * as torch from '../../torch/index.js';
import { type Builder, build, type Log } from '../build.js';
import { setNormSplits } from '../layers/norm.js';

/** Names that `MODEL.BACKBONE.NAME` may use: from normalised images `[N, 3, H, W]` to a map `[N, C, h, w]`. */
export const BACKBONE_REGISTRY = new Registry<Builder<torch.nn.Module>>('backbone');

/** The backbone that `MODEL.BACKBONE.NAME` names, with its pre-trained weights if the configuration asks. */
export function buildBackbone(cfg: Config, log: Log): torch.nn.Module {
  const backbone = build(BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME), cfg, log);
  setNormSplits(backbone, cfg.MODEL.BACKBONE.NORM_SPLIT);
  return backbone;
}

/** The variant of a backbone that `MODEL.BACKBONE.DEPTH` names; throws an error that lists those there are. */
export function variantOf<V>(variants: Readonly<Record<string, V>>, depth: string, builder: string): V {
  if (Object.hasOwn(variants, depth)) return variants[depth];
  const known = Object.keys(variants).join(', ');
  throw new Error(`MODEL.BACKBONE.DEPTH is '${depth}'; ${builder} has ${known}`);
}

/** Options of `MODEL.BACKBONE` that some backbones have and others lack. */
const OPTIONS = [
  'LAST_STRIDE',
  'NORM',
  'WITH_IBN',
  'WITH_SE',
  'WITH_NL',
  'SIE_CAMERAS',
  'SIE_COE',
  'TOKENS',
  'STRIDE_SIZE',
  'DROP_PATH_RATIO',
  'DROP_RATIO',
  'ATT_DROP_RATE',
] as const;

export type BackboneOption = (typeof OPTIONS)[number];

/**
 * Says of every option that is set to something but that this backbone lacks that it has no effect. Published
 * configurations set such options (non-local blocks for a ResNeSt, say), so they cannot be refused.
 */
export function noteUnused(
  cfg: Config,
  log: Log,
  builder: string,
  honoured: readonly BackboneOption[],
): void {
  const defaults = getCfg();
  for (const option of OPTIONS) {
    const key = `MODEL.BACKBONE.${option}`;
    if (honoured.includes(option) || JSON.stringify(cfg.get(key)) === JSON.stringify(defaults.get(key)))
      continue;
    log(`${key} has no effect: ${builder} has no such option`);
  }
}
