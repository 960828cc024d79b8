import type { Config } from '../../config/index.js';
import { Registry } from '../../registry.js';
import type * as torch from '../../torch/index.js';
import { type Builder, build, type Log } from '../build.js';

/** Names that `MODEL.BACKBONE.NAME` may use: from normalised images `[N, 3, H, W]` to a map `[N, C, h, w]`. */
export const BACKBONE_REGISTRY = new Registry<Builder<torch.nn.Module>>('backbone');

/** The backbone that `MODEL.BACKBONE.NAME` names, with its pre-trained weights if the configuration asks. */
export function buildBackbone(cfg: Config, log: Log): torch.nn.Module {
  return build(BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME), cfg, log);
}
