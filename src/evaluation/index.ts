export { bootstrapIntervals, type Interval } from './bootstrap.js';
export {
  buildEvaluator,
  buildReidEvaluator,
  checkEvaluation,
  EVALUATOR_REGISTRY,
  type EvaluatorKind,
  evaluationMode,
  evaluatorOptions,
  type TestFacts,
} from './build.js';
export { type CameraPair, CameraPairs } from './camera-pairs.js';
export { ClasEvaluator } from './clas-evaluator.js';
export { detailsText } from './details-text.js';
export {
  type BlockOptions,
  buildDist,
  cosineDistance,
  DEFAULT_BUDGET,
  euclideanDistance,
  forEachDistanceBlock,
  type Metric,
  normalize,
  parseMetric,
} from './distance.js';
export { type FeatureModel, inferenceOnDataset, type TestBatch } from './inference.js';
export { Matches } from './matches.js';
export { nearestRows } from './neighbours.js';
export { checkEvaluatorOptions, type ReidEvaluatorOptions } from './options.js';
export { expandFeatures, type QueryExpansionOptions } from './query-expansion.js';
export { evaluateRank, RankAccumulator, type RankOptions, type RankResult } from './rank.js';
export {
  type DatasetEvaluator,
  type EvaluationDetails,
  type Labels,
  ReidEvaluator,
  type TestProtocol,
} from './reid-evaluator.js';
export { type ReRankOptions, reRank } from './rerank.js';
export { flattenResults, type NestedResults, type Results, resultsTable } from './results.js';
export {
  type DistanceHistogram,
  FALSE_ACCEPT_RATES,
  type OperatingPoint,
  RocAccumulator,
  type RocResult,
} from './roc.js';
export { takeRows } from './rows.js';
export { type Neighbours, smallest } from './smallest.js';
export { type DistanceOptions, forEachQuery, forEachQueryBlock } from './trial.js';
