export { checkFeaturesPath, type FeatureSet, loadFeatures, saveFeatures } from './features.js';
export { numberedName } from './file-names.js';
export { type GalleryEntry, GalleryIndex, type IndexOptions, type Neighbour } from './gallery-index.js';
export { makeTest, type TestData } from './test-data.js';
export { drawTiles, type Tile, type Verdict } from './tiles.js';
