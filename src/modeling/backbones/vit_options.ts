import { type Config, getCfg } from '../../config/index.js';
import type { Log } from '../build.js';
import type { Size } from '../layers/patch_embed.js';
import type { BackboneOption } from './build.js';
import type { VisionTransformerOptions } from './vision_transformer.js';

/** What all vision transformers honour. */
export const HONOURED: readonly BackboneOption[] = [
  'SIE_CAMERAS',
  'SIE_COE',
  'TOKENS',
  'STRIDE_SIZE',
  'DROP_PATH_RATIO',
  'DROP_RATIO',
  'ATT_DROP_RATE',
];

/** [height, width] of the images that the backbone will see in training. */
export function imageSize(cfg: Config): Size {
  const [height, width = height] = cfg.INPUT.CROP.ENABLED ? cfg.INPUT.CROP.SIZE : cfg.INPUT.SIZE_TRAIN;
  return [height, width];
}

/** The options that mean the same in every vision transformer. */
export function tokenOptions(
  cfg: Config,
  log: Log,
): Pick<
  VisionTransformerOptions,
  'imageSize' | 'drop' | 'attentionDrop' | 'dropPath' | 'cameras' | 'cameraWeight' | 'output'
> {
  const { DROP_RATIO, ATT_DROP_RATE, DROP_PATH_RATIO, SIE_CAMERAS, SIE_COE, TOKENS, STRIDE_SIZE } =
    cfg.MODEL.BACKBONE;
  if (STRIDE_SIZE.length !== 2) {
    throw new Error(
      `MODEL.BACKBONE.STRIDE_SIZE is (${STRIDE_SIZE.join(', ')}); it needs a height and a width`,
    );
  }
  if (TOKENS !== 'cls' && TOKENS !== 'patch') {
    throw new Error(`MODEL.BACKBONE.TOKENS is '${TOKENS}'; it must be 'cls' or 'patch'`);
  }
  if (!Number.isInteger(SIE_CAMERAS) || SIE_CAMERAS < 0) {
    throw new Error(`MODEL.BACKBONE.SIE_CAMERAS is ${SIE_CAMERAS}; it must be a number of cameras, or 0`);
  }
  if (SIE_CAMERAS > 0) {
    log(`Side information: ${SIE_CAMERAS} cameras, each with an embedding, times ${SIE_COE}`);
  } else if (SIE_COE !== getCfg().MODEL.BACKBONE.SIE_COE) {
    log('MODEL.BACKBONE.SIE_COE has no effect: MODEL.BACKBONE.SIE_CAMERAS is 0, no camera has an embedding');
  }
  return {
    imageSize: imageSize(cfg),
    drop: DROP_RATIO,
    attentionDrop: ATT_DROP_RATE,
    dropPath: DROP_PATH_RATIO,
    cameras: SIE_CAMERAS,
    cameraWeight: SIE_COE,
    output: TOKENS,
  };
}
