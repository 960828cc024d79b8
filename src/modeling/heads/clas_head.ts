import type * as torch from '../../torch/index.js';
import { type HeadOutputs, REID_HEADS_REGISTRY } from './build.js';
import { EmbeddingHead } from './embedding_head.js';

type Tensor = torch.Tensor;

/**
 * The head of an image classifier: an EmbeddingHead whose evaluation returns the logits `[N, classes]`. Metric
 * losses always see the features after the neck.
 */
export class ClasHead extends EmbeddingHead {
  protected override forward(map: Tensor, targets?: Tensor): HeadOutputs | Tensor {
    const { neck } = this.embed(map);
    if (this.training) return this.classify(neck, neck, targets);
    return this.cls_layer.score(neck, this.weight).mul_(this.cls_layer.scale);
  }
}

REID_HEADS_REGISTRY.register('ClasHead', ClasHead);
