import type { Label } from '../data/labels.js';
import { type Metric, parseMetric } from './distance.js';
import type { QueryExpansionOptions } from './query-expansion.js';
import type { ReRankOptions } from './rerank.js';
import type { DistanceOptions } from './trial.js';

export interface ReidEvaluatorOptions extends DistanceOptions {
  /** Ranks to report (TEST.RANKS). Default 1, 5, 10. */
  ranks?: readonly number[];
  /** Verification figures too (TEST.ROC). */
  roc?: boolean;
  /** Measures of general retrieval too: Recall at these numbers, R-precision and mAP@R (TEST.RETRIEVAL). */
  recalls?: readonly number[];
  /** Draws for confidence intervals over identities (TEST.BOOTSTRAP); 0, the default, for none. */
  bootstrap?: number;
  /** A table of pairs of cameras (TEST.CAMERA_PAIRS). */
  cameraPairs?: boolean;
  /** Also `Rank-k` with one gallery image of each identity (TEST.SINGLE_SHOT). */
  singleShot?: boolean;
  /** What images are called in messages, by their position. */
  imageName?: (index: number) => string;
  /** What cameras are called in `cameraPairs`, by their numbers. Default: by these. */
  cameraName?: (camera: number) => Label;
}

/** Name check for `TEST.METRIC`. Throws naming the accepted values. */
export function parseTestMetric(name: string): Metric | 'jaccard' {
  return name === 'jaccard' ? name : parseMetric(name, ['jaccard']);
}

/** Throws a RangeError that names the key of a value that cannot be. */
export function checkEvaluatorOptions(options: ReidEvaluatorOptions): void {
  const { metric = 'cosine', aqe = {}, rerank = {}, budget } = options;
  parseTestMetric(metric);
  checkQueryExpansion(aqe);
  checkReRank(rerank);
  check('MEMORY_BUDGET', budget, 'more than 0 MiB', (x) => x > 0);
  checkRanks('TEST.RANKS', options.ranks);
  checkRanks('TEST.RETRIEVAL.RECALLS', options.recalls);
  const isDraws = (x: number): boolean => Number.isInteger(x) && x >= 0;
  check('BOOTSTRAP', options.bootstrap, 'a number of draws, or 0 for none', isDraws);
}

/** As {@link checkEvaluatorOptions}. */
export function checkQueryExpansion({ times, k, alpha }: QueryExpansionOptions): void {
  checkWhole('AQE.QE_TIME', times);
  checkWhole('AQE.QE_K', k);
  check('AQE.ALPHA', alpha, 'a number from 0 on', (x) => x >= 0 && x < Number.POSITIVE_INFINITY);
}

/** As {@link checkEvaluatorOptions}. */
export function checkReRank({ k1, k2, lambda }: ReRankOptions): void {
  checkWhole('RERANK.K1', k1);
  checkWhole('RERANK.K2', k2);
  check('RERANK.LAMBDA', lambda, 'between 0 and 1', (x) => x >= 0 && x <= 1);
}

function check(key: string, value: number | undefined, what: string, good: (x: number) => boolean): void {
  if (value === undefined || good(value)) return;
  throw new RangeError(`TEST.${key} must be ${what}, got ${value}`);
}

const checkWhole = (key: string, value: number | undefined): void =>
  check(key, value, 'a whole number from 1 on', (x) => Number.isInteger(x) && x >= 1);

function checkRanks(key: string, ranks: readonly number[] | undefined): void {
  if (ranks === undefined) return;
  if (ranks.length === 0) throw new RangeError(`${key} is empty: it needs at least one rank to report`);
  const wrong = ranks.find((rank) => !Number.isInteger(rank) || rank < 1);
  if (wrong !== undefined) throw new RangeError(`${key}: ranks are whole numbers from 1 on, got ${wrong}`);
}
