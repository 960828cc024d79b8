export { bestMatches, type Match, type QueryAndGallery } from './best-matches.js';
export { checkFeaturesPath, type FeatureSet, loadFeatures, saveFeatures, selectImages } from './features.js';
export { numberedName } from './file-names.js';
export { type GalleryEntry, GalleryIndex, type IndexOptions, type Neighbour } from './gallery-index.js';
export {
  type Findings,
  type Order,
  type Ranked,
  type RankList,
  type RankListOptions,
  rankLists,
  sortLists,
} from './rank-lists.js';
export { htmlReport, type ReportOptions } from './report.js';
export { makeTest, type TestData } from './test-data.js';
export { drawTiles, type Tile, VERDICT_COLOURS, type Verdict } from './tiles.js';
export { writeFindings } from './write-findings.js';
