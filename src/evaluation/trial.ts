import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { blockRows, DEFAULT_BUDGET, forEachDistanceBlock, forEachRows, normalize_ } from './distance.js';
import { parseTestMetric } from './options.js';
import { forEachPositions, type PositionsOf } from './positions.js';
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
  options: DistanceOptions,
  visit: (distances: Tensor, first: number) => void,
): void {
  const { metric = 'cosine', rerank, compat = false, budget = DEFAULT_BUDGET } = options;
  const name = parseTestMetric(metric);
  const base = name === 'jaccard' ? 'cosine' : name;
  const m = features.shape[0] - numQuery;
  withExpanded(features, options, (all) => {
    if (rerank !== undefined || name === 'jaccard') {
      const given = { ...rerank, ...(name === 'jaccard' && { lambda: 0 }) };
      reRank(all, numQuery, { ...given, metric: base, compat, budget, normalized: true }, (rows, first) =>
        torch.scope(() => visit(torch.fromTypedArray(rows, [rows.length / m, m]), first)),
      );
      return;
    }
    const [query, gallery] = [all.narrow(0, 0, numQuery), all.narrow(0, numQuery, m)];
    forEachDistanceBlock(query, gallery, base, visit, { budget, normalized: true });
  });
}

/** Features with those of neighbours, where `aqe` asks for it, and of unit length, but for `euclidean`. */
function withExpanded(
  features: Tensor,
  { metric, aqe, compat = false, budget = DEFAULT_BUDGET }: DistanceOptions,
  body: (all: Tensor) => void,
): void {
  torch.noGrad(() =>
    torch.scope(() => {
      let all = features;
      if (aqe !== undefined) all = expandFeatures(all, { ...aqe, budget, keepNegative: compat });
      if (metric !== 'euclidean') normalize_(all);
      body(all);
    }),
  );
}

/** Lower blocks take longer than it takes to have tall ones in pieces. */
const LEAST_ROWS = 64;

/**
 * As {@link forEachQueryBlock}, where only positions in the sorted distances are asked for, which takes less time where
 * few queries' distances to a large gallery fit into the budget.
 *
 * @param visit gets what finds positions, the first query's number and the number of queries
 */
export function forEachQueryPositions(
  features: Tensor,
  numQuery: number,
  options: DistanceOptions,
  visit: (positionsOf: PositionsOf, first: number, rows: number) => void,
): void {
  const { metric = 'cosine', rerank, budget = DEFAULT_BUDGET } = options;
  const name = parseTestMetric(metric);
  const m = features.shape[0] - numQuery;
  if (rerank === undefined && name !== 'jaccard' && blockRows(m, budget) < Math.min(numQuery, LEAST_ROWS)) {
    withExpanded(features, options, (all) => {
      const [query, gallery] = [all.narrow(0, 0, numQuery), all.narrow(0, numQuery, m)];
      forEachPositions(query, gallery, name, visit, { budget, normalized: true });
    });
    return;
  }
  forEachQueryBlock(features, numQuery, options, (block, first) => {
    visit((columns) => torch.sortedPositions(block.cpu(), columns), first, block.shape[0]);
  });
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
