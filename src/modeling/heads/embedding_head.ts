import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import { CLS_LAYER_REGISTRY, type ClassificationLayer } from '../layers/classification.js';
import { initKaiming } from '../layers/init.js';
import { getNorm } from '../layers/norm.js';
import { POOLING_REGISTRY } from '../layers/pooling.js';
import { type HeadOutputs, REID_HEADS_REGISTRY } from './build.js';

type Tensor = torch.Tensor;

export interface EmbeddingHeadOptions {
  /** Channels of the backbone's feature map. */
  featDim: number;
  /** Width of a 1×1 convolution that reduces the pooled features; 0 for none. */
  embeddingDim: number;
  numClasses: number;
  /** Which features the metric losses see: those before or after the neck. */
  neckFeat: 'before' | 'after';
  /** A name in POOLING_REGISTRY. */
  poolLayer: string;
  /** A name in CLS_LAYER_REGISTRY. */
  clsLayer: string;
  scale: number;
  margin: number;
  /** Batch normalisation, its shift frozen at 0, between the metric losses' and the classifier's features. */
  withBnNeck: boolean;
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Parts of a batch that a GhostBN neck normalises by themselves (default 1). */
  normSplit?: number;
}

/**
 * Pooling, optional reduction, optional BN-neck and a classification layer, on a map `[N, C, H, W]` or, of a
 * backbone that pools by itself, features `[N, C]` or `[N, C, 1, 1]`. Evaluation returns the features after the
 * neck, `[N, D]`; training returns HeadOutputs.
 */
export class EmbeddingHead extends torch.nn.Module<[Tensor, Tensor?], HeadOutputs | Tensor> {
  // Field names are those of the state dict.
  readonly pool_layer: torch.nn.Module;
  readonly bottleneck: torch.nn.Sequential;
  /** Class weights, `[classes, D]`. */
  readonly weight: torch.nn.Parameter;
  readonly cls_layer: ClassificationLayer;
  readonly #neckFeat: 'before' | 'after';

  constructor(options: EmbeddingHeadOptions) {
    super();
    const { featDim, embeddingDim, numClasses, neckFeat, scale, margin, norm } = options;
    if (neckFeat !== 'before' && neckFeat !== 'after') {
      throw new Error(`MODEL.HEADS.NECK_FEAT is '${neckFeat}'; it must be 'before' or 'after'`);
    }
    this.#neckFeat = neckFeat;
    const PoolLayer = POOLING_REGISTRY.get(options.poolLayer);
    this.pool_layer = new PoolLayer();
    const width = embeddingDim > 0 ? embeddingDim : featDim;
    const neck: torch.nn.Module[] = [];
    if (embeddingDim > 0) neck.push(new torch.nn.Conv2d(featDim, embeddingDim, 1, { bias: false }));
    if (options.withBnNeck) neck.push(getNorm(norm, width, { freezeBias: true, splits: options.normSplit }));
    this.bottleneck = new torch.nn.Sequential(...neck);
    this.weight = new torch.nn.Parameter(torch.empty([numClasses, width]));
    const ClsLayer = CLS_LAYER_REGISTRY.get(options.clsLayer);
    this.cls_layer = new ClsLayer({ numClasses, scale, margin });
    this.bottleneck.apply(initKaiming);
    torch.nn.init.normal_(this.weight, 0, 0.01);
  }

  static fromConfig(cfg: Config): EmbeddingHeadOptions {
    const heads = cfg.MODEL.HEADS;
    return {
      featDim: cfg.MODEL.BACKBONE.FEAT_DIM,
      embeddingDim: heads.EMBEDDING_DIM,
      numClasses: heads.NUM_CLASSES,
      neckFeat: heads.NECK_FEAT as 'before' | 'after',
      poolLayer: heads.POOL_LAYER,
      clsLayer: heads.CLS_LAYER,
      scale: heads.SCALE,
      margin: heads.MARGIN,
      withBnNeck: heads.WITH_BNNECK,
      norm: heads.NORM,
      normSplit: heads.NORM_SPLIT,
    };
  }

  protected override forward(map: Tensor, targets?: Tensor): HeadOutputs | Tensor {
    const { pooled, neck } = this.embed(map);
    if (!this.training) return neck;
    return this.classify(neck, this.#neckFeat === 'before' ? perImage(pooled) : neck, targets);
  }

  /**
   * The features before the neck, `[N, C, 1, 1]`, and after it, `[N, D]`, of a backbone's map `[N, C, H, W]` or of
   * features `[N, C]`.
   */
  protected embed(map: Tensor): { pooled: Tensor; neck: Tensor } {
    const pooled = this.pool_layer.call(map.dim() === 2 ? map.unsqueeze(-1).unsqueeze(-1) : map);
    const [, , height, width] = pooled.shape;
    if (height !== 1 || width !== 1) {
      throw new Error(
        `MODEL.HEADS.POOL_LAYER: ${this.pool_layer.typeName} leaves a map of ${height} × ${width}; it is for ` +
          'backbones that pool by themselves. Choose another, e.g. GlobalAvgPool',
      );
    }
    return { pooled, neck: perImage(this.bottleneck.call(pooled)) };
  }

  /** What the losses need, from the features after the neck and those that the metric losses are to see. */
  protected classify(neck: Tensor, features: Tensor, targets: Tensor | undefined): HeadOutputs {
    if (targets === undefined) {
      throw new Error(`${this.typeName}: training needs targets, an int64 tensor [N]`);
    }
    const scores = this.cls_layer.score(neck, this.weight);
    return {
      cls_outputs: this.cls_layer.call(scores, targets),
      pred_class_logits: scores.mul(this.cls_layer.scale),
      features,
    };
  }
}

/** `[N, D, 1, 1]` to `[N, D]`. */
function perImage(pooled: Tensor): Tensor {
  return pooled.select(-2, 0).select(-1, 0);
}

REID_HEADS_REGISTRY.register('EmbeddingHead', EmbeddingHead);
