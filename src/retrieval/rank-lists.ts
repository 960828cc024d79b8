import {
  type DistanceHistogram,
  type DistanceOptions,
  forEachQuery,
  Matches,
  RankAccumulator,
  type RankResult,
  RocAccumulator,
  type RocResult,
  takeRows,
} from '../evaluation/index.js';
import * as torch from '../torch/index.js';
import type { TestData } from './test-data.js';

/** A gallery image in a rank list. */
export interface Ranked {
  /** Row of the test data. */
  row: number;
  distance: number;
  /** Whether it has the query's identity. */
  right: boolean;
}

/** A query and the gallery images nearest to it, those that do not count left out. */
export interface RankList {
  /** Row of the test data. */
  query: number;
  /** Average precision; undefined where the gallery has no image to be found. */
  ap: number | undefined;
  nearest: Ranked[];
}

/** What a model gets right and wrong. */
export interface Findings {
  lists: RankList[];
  ranking: RankResult;
  /** Verification by distances of pairs; undefined when there are no genuine or no impostor pairs. */
  pairs: { roc: RocResult; histogram: DistanceHistogram } | undefined;
  /** What the distances are, for axes. */
  distance: string;
}

export interface RankListOptions extends DistanceOptions {
  /** Length of the lists. Default 10. */
  top?: number;
  /** Which of the trials, from 0. Default the first. */
  trial?: number;
}

/**
 * Ranks the gallery for each query of a trial, as the evaluation does: lists, measures and the distances of all pairs
 * that count, in one pass and bounded memory.
 */
export function rankLists(data: TestData, options: RankListOptions = {}): Findings {
  const { features, pids, protocol } = data;
  const { top = 10, trial = 0 } = options;
  refuseNonFinite(data);
  // An image that is its own camera shares it with itself alone.
  const camids = protocol.cameras ? data.camids : data.camids.map((_, row) => row);
  if (!(trial in protocol.trials)) {
    throw new RangeError(`there is no trial ${trial + 1}: the test has ${protocol.trials.length}`);
  }
  const { query, gallery } = protocol.trials[trial];
  const labels = [gallery.map((row) => pids[row]), gallery.map((row) => camids[row])] as const;
  const ranks = new RankAccumulator(...labels);
  const pairs = new RocAccumulator(...labels);
  const matches = new Matches(...labels);
  const lists: RankList[] = [];
  torch.scope(() => {
    const rows = takeRows(features, [...query, ...gallery]);
    forEachQuery(rows, query.length, options, (q, distances) => {
      const row = query[q];
      const [pid, camid] = [pids[row], camids[row]];
      ranks.add(q, pid, camid, distances);
      pairs.add(pid, camid, distances);
      const nearest = smallestPlaces(distances, top, new Set(matches.of(pid, camid).removed)).map(
        (place): Ranked => ({
          row: gallery[place],
          distance: distances[place],
          right: labels[0][place] === pid,
        }),
      );
      lists.push({ query: row, ap: undefined, nearest });
    });
  });
  const ranking = ranks.result({ maxRank: 50 });
  ranking.counted.forEach((position, i) => {
    lists[position].ap = ranking.ap[i];
  });
  // Queries that count have genuine pairs; impostors there may be none.
  const judged = new Set([...labels[0], ...query.map((row) => pids[row])]).size > 1;
  return {
    lists,
    ranking,
    pairs: judged ? { roc: pairs.result(), histogram: pairs.histogram(64) } : undefined,
    distance: distanceName(options),
  };
}

/** Places of the smallest numbers, ascending, equal ones by their places; those in `skip` are left out. */
function smallestPlaces(values: Float32Array, count: number, skip: ReadonlySet<number>): number[] {
  const best: number[] = [];
  for (let place = 0; place < values.length; place++) {
    if (best.length === count && values[place] >= values[best[count - 1]]) continue;
    if (skip.has(place)) continue;
    let i = best.length;
    while (i > 0 && values[place] < values[best[i - 1]]) i--;
    best.splice(i, 0, place);
    if (best.length > count) best.pop();
  }
  return best;
}

function distanceName({ metric = 'cosine', rerank }: DistanceOptions): string {
  if (metric === 'jaccard') return 'Jaccard distance';
  if (rerank !== undefined) return 're-ranked distance';
  return metric === 'cosine' ? '1 − cosine similarity' : 'squared Euclidean distance';
}

/**
 * `worst` and `best`: by average precision, queries without anything to be found left out. `mistakes`: lists that
 * begin with a wrong image, the nearest wrong image first. `none`: as the queries are.
 */
export type Order = 'worst' | 'best' | 'mistakes' | 'none';

/** The lists to be looked at, in their order; equals in the order of the queries. */
export function sortLists(lists: readonly RankList[], order: Order): RankList[] {
  if (order === 'none') return [...lists];
  if (order === 'mistakes') {
    return lists
      .filter(({ ap, nearest }) => ap !== undefined && nearest.length > 0 && !nearest[0].right)
      .sort((a, b) => a.nearest[0].distance - b.nearest[0].distance);
  }
  const sign = order === 'worst' ? 1 : -1;
  return lists.filter(({ ap }) => ap !== undefined).sort((a, b) => sign * (a.ap! - b.ap!));
}

function refuseNonFinite({ features, paths }: TestData): void {
  const [bad] = torch.scope(
    () => features.isfinite().all(1).logical_not().nonzero().flatten().tolist() as number[],
  );
  if (bad === undefined) return;
  throw new Error(
    `the feature of ${paths[bad]} is not finite (NaN or infinite values): look at the image and the weights`,
  );
}
