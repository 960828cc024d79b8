import type { Config } from '../config/index.js';
import type { ImageDataset, ImageItem } from './datasets/index.js';
import { numberLabels } from './labels.js';
import { trainingItems } from './training-items.js';

/**
 * Test pictures with the numbers that their identities had in training, for classifiers.
 *
 * @param root folder of the data sets of DATASETS.NAMES, whose lists of pictures are read
 * @throws when one of them is not there, or an identity was not trained
 */
export function withTrainingClasses(
  cfg: Config,
  source: ImageDataset,
  images: readonly ImageItem[],
  root: string | undefined,
): ImageItem[] {
  const why =
    'which class has which number follows from the training sets, DATASETS.NAMES, which cannot be read.';
  const numbers = numberLabels(trainingItems(cfg, root, why).map(({ pid }) => pid));
  return images.map((item) => {
    const name = source.trainingIdentity(item);
    const pid = numbers.get(name);
    if (pid !== undefined) return { ...item, pid };
    throw new Error(
      `'${item.imgPath}' is of '${name}', which is no class of DATASETS.NAMES: a classifier is tested on other pictures ` +
        'of what it was trained on, as in one folder with train/ and test/',
    );
  });
}
