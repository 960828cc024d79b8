import type { Config } from '../config/index.js';
import type { ImageSource } from '../data/index.js';
import { logger } from '../logger.js';
import { applyMemoryFormat, buildModel, deploy, type MetaArch } from '../modeling/index.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { Checkpointer } from './checkpoint.js';
import { resolveDevice } from './default-setup.js';
import { type ImageBatchOptions, imageBatches } from './image-batches.js';
import { mirrorOf } from './mirror.js';

export interface PredictorOptions {
  /** Bring the model to its deploy form: the same features but for rounding, sooner (RepVGG). Default false. */
  deploy?: boolean;
}

export interface EmbedOptions extends Pick<ImageBatchOptions, 'batchSize'> {
  /**
   * Numbers that the cameras of the images had in training (MODEL.BACKBONE.SIE_CAMERAS); negative ones are unknown.
   * Default: all are unknown.
   */
  cameras?: readonly number[];
  /** Called after each batch with the number of images done. */
  onProgress?: (done: number, total: number) => void;
  /** Told of images that cannot be read and are left out (DATALOADER.SKIP_BROKEN). Default: a warning for each. */
  onBroken?: (index: number, message: string) => void;
}

/**
 * From images to features, as a configuration and its MODEL.WEIGHTS say.
 *
 * ```ts
 * const predictor = await DefaultPredictor.create(cfg);
 * const features = await predictor.embed(['a.jpg', 'b.jpg']);   // [2, dim]
 * ```
 */
export class DefaultPredictor {
  readonly cfg: Config;
  readonly model: MetaArch;
  readonly #mirror: ((images: Tensor) => Tensor) | undefined;

  private constructor(cfg: Config, model: MetaArch) {
    this.cfg = cfg;
    this.model = model;
    this.#mirror = mirrorOf(cfg, model);
  }

  /** Builds the model and loads MODEL.WEIGHTS; without weights it warns, as features then mean nothing. */
  static async create(cfg: Config, options: PredictorOptions = {}): Promise<DefaultPredictor> {
    const own = resolveDevice(cfg).clone().defrost();
    own.MODEL.BACKBONE.PRETRAIN = false;
    const model = buildModel(own, logger.detail);
    if (own.MODEL.WEIGHTS) await new Checkpointer(model).load(own.MODEL.WEIGHTS);
    else logger.warn('MODEL.WEIGHTS is empty: the features come from an untrained model');
    model.eval();
    if (options.deploy) deploy(model);
    applyMemoryFormat(model, own);
    return new DefaultPredictor(own.freeze(), model);
  }

  /**
   * Features of a batch that is ready: images [n, 3, h, w] of 0 to 255, RGB. With TEST.FLIP the means of those of the
   * images and of their mirror images.
   *
   * @param camids as `cameras` of {@link EmbedOptions}, int64 [n]
   * @returns [n, dim] float32 on the CPU, not normalised
   */
  call(images: Tensor, camids?: Tensor): Tensor {
    return torch.scope(() => {
      let features = this.model.embed({ images, camids });
      if (this.#mirror) {
        features = features.add(this.model.embed({ images: this.#mirror(images), camids })).div_(2);
      }
      return features.to({ device: 'cpu', dtype: torch.float32 });
    });
  }

  /**
   * Features of image files (paths, or the bytes of files), prepared as in evaluation. An image that cannot be read is
   * an error; with DATALOADER.SKIP_BROKEN its feature is NaN throughout.
   *
   * @returns [n, dim] float32 on the CPU, in the order of the images, not normalised
   */
  async embed(images: readonly ImageSource[], options: EmbedOptions = {}): Promise<Tensor> {
    if (images.length === 0) throw new Error('embed: there are no images');
    const { batchSize, cameras, onProgress } = options;
    if (cameras !== undefined && cameras.length !== images.length) {
      throw new Error(`embed: ${cameras.length} cameras for ${images.length} images`);
    }
    const skipBroken = this.cfg.DATALOADER.SKIP_BROKEN;
    const {
      onBroken = (index, message) =>
        logger.warn(`${nameOf(images[index], index)} cannot be loaded (${message}) and has no features`),
    } = options;
    let out: Tensor | undefined;
    let done = 0;
    try {
      for await (const { batch, sources, broken } of imageBatches(this, images, { batchSize, skipBroken })) {
        out = torch.scope(() => {
          const some = cameras?.slice(done, done + sources.length);
          const features = this.call(batch, some && torch.tensor(BigInt64Array.from(some, BigInt)));
          for (const { index } of broken) features.select(0, index).fill_(Number.NaN);
          // One piece of memory for all, as pieces joined at the end would need it twice.
          const whole = out ?? torch.empty([images.length, features.shape[1]]).keep();
          whole.narrow(0, done, sources.length).copy_(features);
          return whole;
        });
        for (const { index, message } of broken) onBroken(done + index, message);
        done += sources.length;
        onProgress?.(done, images.length);
      }
      return out!;
    } catch (error) {
      out?.dispose();
      throw error;
    }
  }
}

const nameOf = (source: ImageSource, index: number): string =>
  typeof source === 'string' ? `'${source}'` : `image ${index}`;
