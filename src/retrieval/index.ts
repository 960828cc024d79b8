export { checkFeaturesPath, type FeatureSet, loadFeatures, saveFeatures } from './features.js';
export { type GalleryEntry, GalleryIndex, type IndexOptions, type Neighbour } from './gallery-index.js';
