import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/** A backbone that also takes the camera of each image, int64 `[N]`, as side information. */
export abstract class CameraBackbone extends torch.nn.Module {
  protected abstract override forward(images: Tensor, camids?: Tensor): Tensor;

  // A backbone like any other to everybody who does not know of cameras; so the type parameter has no place for them.
  override call(images: Tensor, camids?: Tensor): Tensor {
    const call: (...args: [Tensor, Tensor?]) => Tensor = super.call;
    return call.apply(this, camids === undefined ? [images] : [images, camids]);
  }
}

/**
 * Calls any backbone with normalised images `[N, 3, H, W]`; one that takes cameras gets `camids`, where they are
 * known.
 */
export function callBackbone(backbone: torch.nn.Module, images: Tensor, camids?: Tensor): Tensor {
  if (backbone instanceof CameraBackbone) return backbone.call(images, camids);
  return backbone.call(images);
}

/**
 * The side information embedding of each image, `[N, 1, dim]` (He et al. 2021, TransReID, eq. 4, without the factor).
 * In evaluation, images of cameras that training did not see, which have negative numbers, get the mean over all
 * cameras, as do all images without `camids`.
 *
 * @param embedding `[cameras, 1, dim]`
 * @param camids int64 `[N]`, 0 to cameras − 1
 */
export function sideInformation(embedding: Tensor, camids: Tensor | undefined, training: boolean): Tensor {
  if (camids === undefined) {
    if (!training) return embedding.mean([0], true);
    throw new Error('MODEL.BACKBONE.SIE_CAMERAS is set: training needs batch.camids, int64 [N]');
  }
  const cameras = embedding.shape[0];
  const [lowest, highest] = [camids.min(), camids.max()].map((t) => Number(t.item()));
  if ((training && lowest < 0) || highest >= cameras) {
    const wrong = highest >= cameras ? highest : lowest;
    throw new Error(
      `MODEL.BACKBONE.SIE_CAMERAS is ${cameras}, but the batch has an image of camera ${wrong}; cameras count from 0`,
    );
  }
  const numbers = camids.to({ device: embedding.device });
  if (lowest >= 0) return embedding.index(numbers);
  const known = numbers.ge(0).view([-1, 1, 1]);
  return torch.where(known, embedding.index(numbers.clamp(0)), embedding.mean([0], true));
}
