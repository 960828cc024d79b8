import type { Config } from '../../config/index.js';
import { Registry } from '../../registry.js';
import type * as torch from '../../torch/index.js';
import type { HeadOutputs } from '../heads/build.js';

/** One term of the training loss. */
export interface NamedLoss {
  /** Name under which the term is reported, e.g. `loss_cls`. */
  readonly key: string;
  /** What the term looks at: the logits (a classification loss) or the features (a metric loss). */
  readonly on: 'logits' | 'features';
  /** The term, a 0-dimensional tensor, from a head's outputs and int64 targets `[N]`. */
  compute(outputs: HeadOutputs, targets: torch.Tensor): torch.Tensor;
}

/**
 * Names that `MODEL.LOSSES.NAME` may use. The terms of a model come in the order of registration, whatever the
 * order in the configuration, so that their sum has the same bits.
 */
export const LOSS_REGISTRY = new Registry<(cfg: Config) => NamedLoss>('loss');

/** The losses that `MODEL.LOSSES.NAME` names; throws for an unknown or repeated name, and when there is none. */
export function buildLosses(cfg: Config): NamedLoss[] {
  const wanted = cfg.MODEL.LOSSES.NAME;
  const known = LOSS_REGISTRY.names();
  if (wanted.length === 0) {
    throw new Error(`MODEL.LOSSES.NAME is empty; name at least one of ${known.join(', ')}`);
  }
  for (const name of wanted) LOSS_REGISTRY.get(name);
  const twice = wanted.find((name, i) => wanted.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new Error(
      `MODEL.LOSSES.NAME names '${twice}' twice; name each of ${known.join(', ')} once and weight it by its SCALE`,
    );
  }
  return known.filter((name) => wanted.includes(name)).map((name) => LOSS_REGISTRY.get(name)(cfg));
}
