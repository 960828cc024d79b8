import type { Config } from '../../config/index.js';
import { Registry } from '../../registry.js';
import * as torch from '../../torch/index.js';
import { type Builder, build, type Log } from '../build.js';

type Tensor = torch.Tensor;

/** What a model is called with: a loader's batch, or the images alone. */
export interface ModelInput {
  /** `[N, 3, H, W]`, uint8 or floating point, 0 to 255, RGB. */
  images: Tensor;
  /** Identities, int64 `[N]`; needed in training. */
  targets?: Tensor;
  /**
   * Cameras, int64 `[N]`; needed in training by backbones with side information (`MODEL.BACKBONE.SIE_CAMERAS`). In
   * evaluation, negative where training did not see the camera.
   */
  camids?: Tensor;
}

/** The terms of the training loss by name, each a 0-dimensional tensor; their sum is what is minimised. */
export type LossDict = Record<string, Tensor>;

/** State that checkpoints hold beside the model's own. */
export interface ExtraState {
  stateDict(): unknown;
  loadStateDict(state: never): unknown;
}

/**
 * A whole model. Called in training mode with a batch it returns its losses; in evaluation mode, features
 * `[N, D]`, not normalised.
 */
export abstract class MetaArch extends torch.nn.Module<[ModelInput | Tensor], LossDict | Tensor> {
  #metrics = new Map<string, Tensor>();

  /**
   * Figures of the last training call besides its losses, e.g. `cls_accuracy`, by name; empty before the first.
   * Reading waits for the device.
   */
  get metrics(): Record<string, number> {
    const values: Record<string, number> = {};
    for (const [name, tensor] of this.#metrics) values[name] = Number(tensor.item());
    return values;
  }

  /** The same as tensors of their own, for recorded steps, which write into the memory of those of their recording. */
  metricTensors(): Record<string, Tensor> {
    return Object.fromEntries([...this.#metrics].map(([name, tensor]) => [name, tensor.detach()]));
  }

  /** Replaces the metric `name` of the last call; `value` is a 0-dimensional tensor. */
  protected recordMetric(name: string, value: Tensor): void {
    this.#metrics.get(name)?.dispose();
    this.#metrics.set(name, value.keep());
  }

  /**
   * Loads what only training needs, so that it is missed before a run begins and not in its first step. A model that
   * needs such things gets them in its first training call at the latest.
   */
  prepareTraining(): void {}

  /**
   * What a resumed run needs besides the state dict, by the names under which checkpoints hold it (an average of
   * the weights, say). FastReID leaves such entries alone.
   */
  extraState(): Record<string, ExtraState> {
    return {};
  }

  /** Losses of a training batch: `call`, for a model in training mode. */
  losses(batch: ModelInput): LossDict {
    if (!this.training)
      throw new Error('losses(): the model is in evaluation mode; call model.train() first');
    const result = this.call(batch);
    if (result instanceof torch.Tensor)
      throw new Error(`${this.typeName} returned no losses in training mode`);
    return result;
  }

  /** Features `[N, D]` of images, without gradients: `call`, for a model in evaluation mode. */
  embed(images: ModelInput | Tensor): Tensor {
    if (this.training) throw new Error('embed(): the model is in training mode; call model.eval() first');
    const result = torch.noGrad(() => this.call(images));
    if (result instanceof torch.Tensor) return result;
    throw new Error(`${this.typeName} returned no features in evaluation mode`);
  }
}

/** Names that `MODEL.META_ARCHITECTURE` may use. */
export const META_ARCH_REGISTRY = new Registry<Builder<MetaArch>>('meta-architecture');

/**
 * The model that `MODEL.META_ARCHITECTURE` names, in training mode on `MODEL.DEVICE`, with pre-trained backbone
 * weights if the configuration asks. `MODEL.WEIGHTS` is left to the checkpointer.
 *
 * @param log gets what the builders have to say, line by line; standard output unless given
 */
export function buildModel(cfg: Config, log: Log = console.log): MetaArch {
  const model = build(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), cfg, log);
  return model.to(cfg.MODEL.DEVICE);
}
