export { type BatchSource, EndlessBatches, FiniteBatches } from './batches.js';
export type { BrokenImage } from './broken.js';
export {
  buildReidTestLoader,
  buildReidTrainLoader,
  type LoaderOptions,
  type TestLoader,
  type TestLoaderOptions,
  type TrainLoaderOptions,
} from './build.js';
export { trainingCameraNumbers } from './cameras.js';
export { contactSheet, type SheetPart } from './contact-sheet.js';
export { CommDataset, type LabelledImage } from './dataset.js';
export * from './datasets/index.js';
export { findImages, type ListedImage, readImageList } from './image-files.js';
export { type ImageSource, type LoadOptions, loadImages, loadProcessed, readImage } from './images.js';
export { type Batch, DataLoader, type DataLoaderOptions, type LoaderState } from './loader.js';
export { Rng, type RngState } from './rng.js';
export * from './samplers/index.js';
export * from './transforms/index.js';
