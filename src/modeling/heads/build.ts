import type { Config } from '../../config/index.js';
import { Registry } from '../../registry.js';
import type * as torch from '../../torch/index.js';
import { type Builder, build, type Log } from '../build.js';

/** What a head gives in training. */
export interface HeadOutputs {
  /** Logits `[N, classes]` for the classification loss, margins applied. */
  cls_outputs: torch.Tensor;
  /** Logits `[N, classes]` without margins, for the reported accuracy. */
  pred_class_logits: torch.Tensor;
  /** Features `[N, D]` for the metric losses. */
  features: torch.Tensor;
}

/**
 * A head: from a feature map `[N, C, H, W]` (or features `[N, C]`) and, in training, int64 targets `[N]` to
 * HeadOutputs; in evaluation to features `[N, D]`, or to logits `[N, classes]` for a classifier.
 */
export type Head = torch.nn.Module<[torch.Tensor, torch.Tensor?], HeadOutputs | torch.Tensor>;

/** Names that `MODEL.HEADS.NAME` may use. */
export const REID_HEADS_REGISTRY = new Registry<Builder<Head>>('head');

/** The head that `MODEL.HEADS.NAME` names. */
export function buildHeads(cfg: Config, log: Log): Head {
  return build(REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME), cfg, log);
}
