import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import {
  DEFAULT_BUDGET,
  forEachDistanceBlock,
  forEachRows,
  type Metric,
  normalize_,
  parseMetric,
} from './distance.js';
import { expandFeatures, type QueryExpansionOptions } from './query-expansion.js';
import { type ReRankOptions, reRank } from './rerank.js';

export interface DistanceOptions {
  /** `cosine` (default), `euclidean` (squared), or `jaccard`: re-ranking's, with nothing of the original distance. */
  metric?: string;
  /** Features are expanded by their neighbours first (TEST.AQE). */
  aqe?: Pick<QueryExpansionOptions, 'times' | 'k' | 'alpha'>;
  /** Distances are re-ranked; with `jaccard` only its `k1` and `k2` count (TEST.RERANK). */
  rerank?: Pick<ReRankOptions, 'k1' | 'k2' | 'lambda'>;
  /** Everything as FastReID computes it. */
  compat?: boolean;
  /** MiB that may be taken beside the features (TEST.MEMORY_BUDGET). Default 256. */
  budget?: number;
}

/** Throws a RangeError that names the key of a value that cannot be. */
export function checkDistanceOptions({ metric = 'cosine', aqe, rerank, budget }: DistanceOptions): void {
  parseTestMetric(metric);
  const check = (
    key: string,
    value: number | undefined,
    what: string,
    good: (x: number) => boolean,
  ): void => {
    if (value === undefined || good(value)) return;
    throw new RangeError(`TEST.${key} must be ${what}, got ${value}`);
  };
  const whole = 'a whole number from 1 on';
  const isWhole = (x: number): boolean => Number.isInteger(x) && x >= 1;
  check('AQE.QE_TIME', aqe?.times, whole, isWhole);
  check('AQE.QE_K', aqe?.k, whole, isWhole);
  check('AQE.ALPHA', aqe?.alpha, 'a number from 0 on', (x) => x >= 0 && x < Number.POSITIVE_INFINITY);
  check('RERANK.K1', rerank?.k1, whole, isWhole);
  check('RERANK.K2', rerank?.k2, whole, isWhole);
  check('RERANK.LAMBDA', rerank?.lambda, 'between 0 and 1', (x) => x >= 0 && x <= 1);
  check('MEMORY_BUDGET', budget, 'more than 0 MiB', (x) => x > 0);
}

/** Name check for `TEST.METRIC`. Throws naming the accepted values. */
function parseTestMetric(name: string): Metric | 'jaccard' {
  return name === 'jaccard' ? name : parseMetric(name, ['jaccard']);
}

/**
 * The distances of queries to the gallery, by a metric and whatever is to improve it, a block of queries at a time.
 *
 * @param features [n, dim] float32, queries first; with `cosine` and `jaccard` they may be normalised in place
 * @param visit gets the distances [queries, gallery] float32, which are only valid during the call, and the number
 *   of the first query
 */
export function forEachQueryBlock(
  features: Tensor,
  numQuery: number,
  { metric = 'cosine', aqe, rerank, compat = false, budget = DEFAULT_BUDGET }: DistanceOptions,
  visit: (distances: Tensor, first: number) => void,
): void {
  const name = parseTestMetric(metric);
  const base = name === 'jaccard' ? 'cosine' : name;
  const m = features.shape[0] - numQuery;
  torch.noGrad(() =>
    torch.scope(() => {
      let all = features;
      if (aqe !== undefined) all = expandFeatures(all, { ...aqe, budget, keepNegative: compat });
      if (base === 'cosine') normalize_(all);
      if (rerank !== undefined || name === 'jaccard') {
        const options = { ...rerank, ...(name === 'jaccard' && { lambda: 0 }) };
        reRank(all, numQuery, { ...options, metric: base, compat, budget, normalized: true }, (rows, first) =>
          torch.scope(() => visit(torch.fromTypedArray(rows, [rows.length / m, m]), first)),
        );
        return;
      }
      const [query, gallery] = [all.narrow(0, 0, numQuery), all.narrow(0, numQuery, m)];
      forEachDistanceBlock(query, gallery, base, visit, { budget, normalized: true });
    }),
  );
}

/** As {@link forEachQueryBlock}, a query at a time, its distances in gallery order. */
export function forEachQuery(
  features: Tensor,
  numQuery: number,
  options: DistanceOptions,
  visit: (query: number, distances: Float32Array) => void,
): void {
  forEachQueryBlock(features, numQuery, options, (block, first) => {
    const m = block.shape[1];
    forEachRows(block, (values, from) => {
      for (let r = 0; r * m < values.length; r++)
        visit(first + from + r, values.subarray(r * m, (r + 1) * m));
    });
  });
}
