import { Registry } from '../../registry.js';
import type { DatasetClass } from './base.js';
import { EmojiReID } from './emoji-reid.js';
import { Market1501 } from './market1501.js';

/** Datasets by the name that DATASETS.NAMES and DATASETS.TESTS use. */
export const DATASET_REGISTRY = new Registry<DatasetClass>('dataset');

DATASET_REGISTRY.register('Market1501', Market1501);
DATASET_REGISTRY.register('EmojiReID', EmojiReID);

export {
  countItems,
  type DatasetClass,
  type DatasetOptions,
  datasetsRoot,
  ImageDataset,
  type ImageItem,
} from './base.js';
export { EMOJI_FOLDER, EmojiReID } from './emoji-reid.js';
export { Market1501, type MarketFolder, MarketLayout } from './market1501.js';
