import type { Config } from '../config/index.js';
import { type ImageDataset, type ImageItem, openDataset, ownOptions } from './datasets/index.js';
import { type Label, numberLabels } from './labels.js';

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
 * Test pictures with the numbers that their cameras had in training, for models with embeddings of cameras; cameras
 * that training did not see are −1, −2, … Pictures come as they are where the model has none.
 *
 * @param root folder of the data sets of DATASETS.NAMES, whose lists of pictures are read
 * @throws when one of them is not there
 */
export function withTrainingCameras(
  cfg: Config,
  source: ImageDataset,
  images: readonly ImageItem[],
  root: string | undefined,
): readonly ImageItem[] {
  if (cfg.MODEL.BACKBONE.SIE_CAMERAS === 0) return images;
  const numbers: Map<Label, number> = numberLabels(trainingCameras(cfg, root));
  const known = numbers.size;
  return images.map((item) => {
    const label = source.trainingCamera(item);
    if (!numbers.has(label)) numbers.set(label, known - numbers.size - 1);
    return { ...item, camid: numbers.get(label)! };
  });
}

function trainingCameras(cfg: Config, root: string | undefined): Label[] {
  const { NAMES, COMBINEALL } = cfg.DATASETS;
  try {
    return NAMES.flatMap((name) =>
      openDataset(name, { root, combineAll: COMBINEALL, own: ownOptions(cfg) }).train.map(
        ({ camid }) => camid,
      ),
    );
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      'MODEL.BACKBONE.SIE_CAMERAS is set: which camera has which embedding follows from the training sets, ' +
        'DATASETS.NAMES, which cannot be read. With no names, all pictures are of unknown cameras and get the mean ' +
        `of the embeddings.\n${message}`,
      { cause },
    );
  }
}
