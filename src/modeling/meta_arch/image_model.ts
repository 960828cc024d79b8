import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import { type LossDict, MetaArch, type ModelInput } from './build.js';

type Tensor = torch.Tensor;

export interface PixelStatistics {
  /** Mean of each channel, on the scale 0 to 255. */
  pixelMean: readonly number[];
  /** Standard deviation of each channel, on the same scale. */
  pixelStd: readonly number[];
}

/** The statistics of `MODEL.PIXEL_MEAN` and `MODEL.PIXEL_STD`. */
export function pixelStatistics({ MODEL }: Config): PixelStatistics {
  return { pixelMean: MODEL.PIXEL_MEAN, pixelStd: MODEL.PIXEL_STD };
}

/** What models of images share: they normalise pixels, learn from targets and report their accuracy. */
export abstract class ImageModel extends MetaArch {
  /** `[1, C, 1, 1]`; no part of the state dict. */
  declare readonly pixel_mean: Tensor;
  declare readonly pixel_std: Tensor;

  constructor({ pixelMean, pixelStd }: PixelStatistics) {
    super();
    this.registerBuffer('pixel_mean', torch.tensor([...pixelMean]).view([1, -1, 1, 1]), false);
    this.registerBuffer('pixel_std', torch.tensor([...pixelStd]).view([1, -1, 1, 1]), false);
  }

  get device(): torch.Device {
    return this.pixel_mean.device;
  }

  protected override forward(input: ModelInput | Tensor): LossDict | Tensor {
    const batch: ModelInput = input instanceof torch.Tensor ? { images: input } : input;
    if (!this.training) return this.infer(batch);
    if (batch.targets === undefined) {
      throw new Error(
        `${this.typeName}: training needs batch.targets, the identities as an int64 tensor [N]`,
      );
    }
    return this.learn(batch, batch.targets.to({ device: this.device, nonBlocking: true }));
  }

  /** Evaluation: features `[N, D]`. */
  protected abstract infer(batch: ModelInput): Tensor;

  /**
   * Training: the terms of the loss.
   *
   * @param targets the batch's, on the model's device
   */
  protected abstract learn(batch: ModelInput, targets: Tensor): LossDict;

  /** Images `[N, 3, H, W]` of 0 to 255, uint8 or floating point, as the backbone wants them. The input stays. */
  normalize(images: Tensor): Tensor {
    // Converted there: uint8 is a quarter of what would have to be sent otherwise.
    const here = images.to({ device: this.device, nonBlocking: true }).to(this.pixel_mean.dtype);
    return here.sub(this.pixel_mean).div_(this.pixel_std);
  }

  /** Records as `cls_accuracy` the share of rows of `logits` `[N, classes]` whose largest entry is at the target. */
  protected recordAccuracy(logits: Tensor, targets: Tensor): void {
    const accuracy = torch.noGrad(() => logits.argmax(1).eq(targets).to(torch.float32).mean());
    this.recordMetric('cls_accuracy', accuracy);
  }
}
