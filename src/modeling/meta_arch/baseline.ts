import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import { buildBackbone } from '../backbones/build.js';
import { callBackbone } from '../backbones/cameras.js';
import type { Log } from '../build.js';
import { buildHeads, type Head, type HeadOutputs } from '../heads/build.js';
import { buildLosses, type NamedLoss } from '../losses/build.js';
import { type LossDict, META_ARCH_REGISTRY, type ModelInput } from './build.js';
import { ImageModel, type PixelStatistics, pixelStatistics } from './image_model.js';

type Tensor = torch.Tensor;

export interface BaselineOptions extends PixelStatistics {
  backbone: torch.nn.Module;
  heads: Head;
  losses: readonly NamedLoss[];
}

/** Backbone, head and losses. */
export class Baseline extends ImageModel {
  // Field names are those of the state dict.
  readonly backbone: torch.nn.Module;
  readonly heads: Head;
  readonly #losses: readonly NamedLoss[];

  constructor({ backbone, heads, losses, ...statistics }: BaselineOptions) {
    super(statistics);
    this.backbone = backbone;
    this.heads = heads;
    this.#losses = losses;
  }

  static fromConfig(cfg: Config, log: Log): BaselineOptions {
    // The backbone comes first: the order in which weights are drawn decides what a seed gives.
    const backbone = buildBackbone(cfg, log);
    return { backbone, heads: buildHeads(cfg, log), losses: buildLosses(cfg), ...pixelStatistics(cfg) };
  }

  protected override infer(batch: ModelInput): Tensor {
    return this.heads.call(this.#map(batch)) as Tensor;
  }

  protected override learn(batch: ModelInput, targets: Tensor): LossDict {
    const outputs = this.outputs(batch, targets);
    this.recordAccuracy(outputs.pred_class_logits, targets);
    return this.lossTerms(outputs, targets, batch);
  }

  /** What the head, which must be in training mode, makes of a batch; `targets` are on the model's device. */
  outputs(batch: ModelInput, targets: Tensor): HeadOutputs {
    return this.heads.call(this.#map(batch), targets) as HeadOutputs;
  }

  /** What the backbone makes of the images. */
  #map(batch: ModelInput): Tensor {
    return torch.scope(() => callBackbone(this.backbone, this.normalize(batch.images), batch.camids));
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
}

META_ARCH_REGISTRY.register('Baseline', Baseline);
