import type { Config } from '../../config/index.js';
import { Registry } from '../../registry.js';
import * as torch from '../../torch/index.js';
import type { HeadOutputs } from '../heads/build.js';
import { atLeastFloat32 } from '../layers/full_precision.js';

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
  const chosen = known.filter((name) => wanted.includes(name));
  return chosen.map((name) => fullPrecision(LOSS_REGISTRY.get(name)(cfg)));
}

/** The loss, computed outside of autocast from outputs of float32 or more. */
function fullPrecision(loss: NamedLoss): NamedLoss {
  const compute = (outputs: HeadOutputs, targets: torch.Tensor): torch.Tensor =>
    torch.amp.withoutAutocast(() => {
      const full: Partial<HeadOutputs> = {};
      for (const [name, tensor] of Object.entries(outputs)) {
        full[name as keyof HeadOutputs] = atLeastFloat32(tensor);
      }
      return loss.compute(full as HeadOutputs, targets);
    });
  return { ...loss, compute };
}
