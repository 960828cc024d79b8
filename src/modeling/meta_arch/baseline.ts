import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import { buildBackbone } from '../backbones/build.js';
import type { Log } from '../build.js';
import { buildHeads, type Head, type HeadOutputs } from '../heads/build.js';
import { buildLosses, type NamedLoss } from '../losses/build.js';
import { type LossDict, META_ARCH_REGISTRY, MetaArch, type ModelInput } from './build.js';

type Tensor = torch.Tensor;

export interface BaselineOptions {
  backbone: torch.nn.Module;
  heads: Head;
  /** Mean of each channel, on the scale 0 to 255. */
  pixelMean: readonly number[];
  /** Standard deviation of each channel, on the same scale. */
  pixelStd: readonly number[];
  losses: readonly NamedLoss[];
}

/** Backbone, head and losses. */
export class Baseline extends MetaArch {
  // Field names are those of the state dict.
  readonly backbone: torch.nn.Module;
  readonly heads: Head;
  declare readonly pixel_mean: Tensor;
  declare readonly pixel_std: Tensor;
  readonly #losses: readonly NamedLoss[];

  constructor({ backbone, heads, pixelMean, pixelStd, losses }: BaselineOptions) {
    super();
    this.backbone = backbone;
    this.heads = heads;
    this.#losses = losses;
    this.registerBuffer('pixel_mean', torch.tensor([...pixelMean]).view([1, -1, 1, 1]), false);
    this.registerBuffer('pixel_std', torch.tensor([...pixelStd]).view([1, -1, 1, 1]), false);
  }

  static fromConfig(cfg: Config, log: Log): BaselineOptions {
    // The backbone comes first: the order in which weights are drawn decides what a seed gives.
    const backbone = buildBackbone(cfg, log);
    return {
      backbone,
      heads: buildHeads(cfg, log),
      pixelMean: cfg.MODEL.PIXEL_MEAN,
      pixelStd: cfg.MODEL.PIXEL_STD,
      losses: buildLosses(cfg),
    };
  }

  get device(): torch.Device {
    return this.pixel_mean.device;
  }

  protected override forward(input: ModelInput | Tensor): LossDict | Tensor {
    const batch: ModelInput = input instanceof torch.Tensor ? { images: input } : input;
    const map = torch.scope(() => this.backbone.call(this.normalize(batch.images)));
    if (!this.training) return this.heads.call(map) as Tensor;
    if (batch.targets === undefined) {
      throw new Error('Baseline: training needs batch.targets, the identities as an int64 tensor [N]');
    }
    const targets = batch.targets.to(this.device);
    const outputs = this.heads.call(map, targets) as HeadOutputs;
    this.recordMetric('cls_accuracy', top1Accuracy(outputs.pred_class_logits, targets));
    return this.lossTerms(outputs, targets, batch);
  }

  /**
   * The terms of the training loss: those of `MODEL.LOSSES.NAME`. A subclass adds its own.
   *
   * @param targets int64 `[N]`, on the model's device
   * @param _batch what the model was called with
   */
  protected lossTerms(outputs: HeadOutputs, targets: Tensor, _batch: ModelInput): LossDict {
    const losses: LossDict = {};
    for (const loss of this.#losses) losses[loss.key] = loss.compute(outputs, targets);
    return losses;
  }

  /** Images `[N, 3, H, W]` of 0 to 255, uint8 or floating point, as the backbone wants them. The input stays. */
  normalize(images: Tensor): Tensor {
    const here = images.to({ device: this.device, dtype: this.pixel_mean.dtype });
    return here.sub(this.pixel_mean).div_(this.pixel_std);
  }
}

/** Share of rows of `logits` `[N, classes]` whose largest entry is at the target; a 0-dimensional tensor. */
function top1Accuracy(logits: Tensor, targets: Tensor): Tensor {
  return torch.noGrad(() => logits.argmax(1).eq(targets).to(torch.float32).mean());
}

META_ARCH_REGISTRY.register('Baseline', Baseline);
