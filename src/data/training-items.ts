import type { Config } from '../config/index.js';
import { type ImageItem, openDataset, ownOptions } from './datasets/index.js';

/**
 * The pictures of DATASETS.NAMES, which say what has which number in training.
 *
 * @param root folder of the data sets
 * @param why what they are needed for: the beginning of the message where one of them is not there
 */
export function trainingItems(cfg: Config, root: string | undefined, why: string): ImageItem[] {
  const { NAMES, COMBINEALL } = cfg.DATASETS;
  try {
    return NAMES.flatMap((name) => [
      ...openDataset(name, { root, combineAll: COMBINEALL, own: ownOptions(cfg) }).train,
    ]);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${why}\n${message}`, { cause });
  }
}
