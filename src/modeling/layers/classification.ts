import { Registry } from '../../registry.js';
import * as torch from '../../torch/index.js';
import { inFullPrecision } from './full_precision.js';
import { normalize } from './normalize.js';

type Tensor = torch.Tensor;

export interface ClassificationOptions {
  /** Number of classes, the width of the scores. */
  numClasses: number;
  /** Factor on the scores (`MODEL.HEADS.SCALE`). */
  scale: number;
  /** Margin between a sample's own class and the others (`MODEL.HEADS.MARGIN`). */
  margin: number;
}

/**
 * What turns class scores `[N, classes]` and int64 targets `[N]` into the logits that the classification loss
 * sees. A target of −1 means that the sample's class is not among the columns; it gets no margin.
 */
export abstract class ClassificationLayer extends torch.nn.Module<[Tensor, Tensor], Tensor> {
  readonly numClasses: number;
  readonly scale: number;
  readonly margin: number;

  constructor({ numClasses, scale, margin }: ClassificationOptions) {
    super();
    this.numClasses = numClasses;
    this.scale = scale;
    this.margin = margin;
  }

  /** Scores of features `[N, D]` against class weights `[classes, D]`: cosines, unless a layer says otherwise. */
  score(features: Tensor, weight: Tensor): Tensor {
    // The angle of a cosine of 1 has no finite slope, and short types round to 1 early.
    return inFullPrecision([features, weight], (x, w) => torch.linear(normalize(x), normalize(w)));
  }
}

/** `value` at each sample's own class, 0 elsewhere and in rows whose target is −1; the shape of `scores`. */
function atTarget(scores: Tensor, targets: Tensor, value: number): Tensor {
  const column = targets.clamp_min(0).unsqueeze(1);
  const values = targets.ne(-1).to(scores.dtype).mul(value).unsqueeze(1);
  return torch.zeros_like(scores).scatter_(1, column, values);
}

/** Plain linear classification: `scale · ⟨feature, weight⟩`. */
export class Linear extends ClassificationLayer {
  override score(features: Tensor, weight: Tensor): Tensor {
    return torch.linear(features, weight);
  }

  protected override forward(scores: Tensor): Tensor {
    return scores.mul(this.scale);
  }
}

/** Additive cosine margin (CosFace, Wang et al. 2018): the own class's cosine is lowered by the margin. */
export class CosSoftmax extends ClassificationLayer {
  protected override forward(scores: Tensor, targets: Tensor): Tensor {
    return scores.sub(atTarget(scores, targets, this.margin)).mul(this.scale);
  }
}

/** Additive angular margin (ArcFace, Deng et al. 2019): the own class's angle is widened by the margin. */
export class ArcSoftmax extends ClassificationLayer {
  protected override forward(scores: Tensor, targets: Tensor): Tensor {
    return scores
      .acos()
      .add(atTarget(scores, targets, this.margin))
      .cos()
      .mul(this.scale);
  }
}

/** Circle loss with class weights (Sun et al. 2020): each cosine is weighted by its distance from its optimum. */
export class CircleSoftmax extends ClassificationLayer {
  protected override forward(scores: Tensor, targets: Tensor): Tensor {
    const { margin } = this;
    const fixed = scores.detach();
    const weightOwn = fixed.neg().add(1).add(margin).clamp_min(0);
    const weightOther = fixed.add(margin).clamp_min(0);
    const own = atTarget(scores, targets, 1);
    const ownLogits = weightOwn.mul(scores.sub(1 - margin));
    const otherLogits = weightOther.mul(scores.sub(margin));
    return ownLogits
      .mul(own)
      .add(otherLogits.mul(own.neg().add(1)))
      .mul(this.scale);
  }
}

/** Names that `MODEL.HEADS.CLS_LAYER` may use. */
export const CLS_LAYER_REGISTRY = new Registry<new (options: ClassificationOptions) => ClassificationLayer>(
  'classification layer',
);

CLS_LAYER_REGISTRY.register('Linear', Linear);
CLS_LAYER_REGISTRY.register('ArcSoftmax', ArcSoftmax);
CLS_LAYER_REGISTRY.register('CosSoftmax', CosSoftmax);
CLS_LAYER_REGISTRY.register('CircleSoftmax', CircleSoftmax);
