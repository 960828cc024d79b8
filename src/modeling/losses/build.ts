import type { Config } from '../../config/index.js';
import { Registry } from '../../registry.js';
import type * as torch from '../../torch/index.js';
import type { HeadOutputs } from '../heads/build.js';

/** One term of the training loss. */
export interface NamedLoss {
  /** Name under which the term is reported, e.g. `loss_cls`. */
  readonly key: string;
  /** The term, a 0-dimensional tensor, from a head's outputs and int64 targets `[N]`. */
  compute(outputs: HeadOutputs, targets: torch.Tensor): torch.Tensor;
}

/**
 * Names that `MODEL.LOSSES.NAME` may use. The terms of a model come in the order of registration, whatever the
 * order in the configuration, so that their sum has the same bits.
 */
export const LOSS_REGISTRY = new Registry<(cfg: Config) => NamedLoss>('loss');

/** The losses that `MODEL.LOSSES.NAME` names; throws for an unknown or a missing name. */
export function buildLosses(cfg: Config): NamedLoss[] {
  const wanted = new Set<string>(cfg.MODEL.LOSSES.NAME);
  if (wanted.size === 0) {
    throw new Error(`MODEL.LOSSES.NAME is empty; name at least one of ${LOSS_REGISTRY.names().join(', ')}`);
  }
  for (const name of wanted) LOSS_REGISTRY.get(name);
  const names = LOSS_REGISTRY.names().filter((name) => wanted.has(name));
  return names.map((name) => LOSS_REGISTRY.get(name)(cfg));
}
