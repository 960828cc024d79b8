import type { Config } from '../config/index.js';
import type { ImageDataset, ImageItem } from './datasets/index.js';
import { type Label, numberLabels } from './labels.js';
import { trainingItems } from './training-items.js';

/**
 * Checks that every camera of the training sets has an embedding, where the model has embeddings of cameras
 * (`MODEL.BACKBONE.SIE_CAMERAS`). Cameras of several data sets are different cameras.
 */
export function checkCameras(cfg: Config, cameras: number): void {
  const { SIE_CAMERAS } = cfg.MODEL.BACKBONE;
  if (SIE_CAMERAS === 0 || cameras <= SIE_CAMERAS) return;
  throw new Error(
    `MODEL.BACKBONE.SIE_CAMERAS is ${SIE_CAMERAS}, but there are ${cameras} cameras in DATASETS.NAMES ` +
      `(${cfg.DATASETS.NAMES.join(', ')}): set it to ${cameras}, or to 0 for no side information`,
  );
}

/**
 * Numbers that cameras had in training, for models with embeddings of cameras; cameras that training did not see are
 * −1, −2, …
 *
 * @param labels cameras as training sets name them
 * @param root folder of the data sets of DATASETS.NAMES, whose lists of pictures are read
 * @throws when one of them is not there
 */
export function trainingCameraNumbers(cfg: Config, labels: readonly Label[], root?: string): number[] {
  const why =
    'MODEL.BACKBONE.SIE_CAMERAS is set: which camera has which embedding follows from the training sets, ' +
    'DATASETS.NAMES, which cannot be read. With no names, all pictures are of unknown cameras and get the mean ' +
    'of the embeddings.';
  const numbers: Map<Label, number> = numberLabels(trainingItems(cfg, root, why).map(({ camid }) => camid));
  const known = numbers.size;
  return labels.map((label) => {
    if (!numbers.has(label)) numbers.set(label, known - numbers.size - 1);
    return numbers.get(label)!;
  });
}

/**
 * Test pictures with the numbers that their cameras had in training ({@link trainingCameraNumbers}). Pictures come as
 * they are where the model has no embeddings of cameras.
 */
export function withTrainingCameras(
  cfg: Config,
  source: ImageDataset,
  images: readonly ImageItem[],
  root: string | undefined,
): readonly ImageItem[] {
  if (cfg.MODEL.BACKBONE.SIE_CAMERAS === 0) return images;
  const labels = images.map((item) => source.trainingCamera(item));
  const numbers = trainingCameraNumbers(cfg, labels, root);
  return images.map((item, i) => ({ ...item, camid: numbers[i] }));
}
