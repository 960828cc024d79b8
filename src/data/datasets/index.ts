export {
  countItems,
  type DatasetClass,
  type DatasetOptions,
  datasetsRoot,
  ImageDataset,
  type ImageItem,
  type TestSet,
  type Trial,
} from './base.js';
export { EMOJI_FOLDER, EmojiReID } from './emoji-reid.js';
export { FolderDataset } from './folder.js';
export { ManifestDataset } from './manifest.js';
export { DukeMTMC, Market1501, type MarketFolder, MarketLayout, VeRi } from './market1501.js';
export { type OpenOptions, openDataset, ownOptions } from './open.js';
export { OwnDataset, type OwnDatasetOptions, type OwnItem, type OwnOptions, type Part } from './own.js';
export { DATASET_REGISTRY } from './registry.js';
