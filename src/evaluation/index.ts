export {
  buildDist,
  cosineDistance,
  euclideanDistance,
  forEachDistanceBlock,
  type Metric,
} from './distance.js';
export { type FeatureModel, inferenceOnDataset, type TestBatch } from './inference.js';
export { evaluateRank, RankAccumulator, type RankOptions, type RankResult } from './rank.js';
export {
  type DatasetEvaluator,
  type Labels,
  ReidEvaluator,
  type ReidEvaluatorOptions,
  type TestProtocol,
} from './reid-evaluator.js';
export { flattenResults, type NestedResults, type Results, resultsTable } from './results.js';
