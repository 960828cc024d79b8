import {
  type DistanceHistogram,
  forEachDistanceBlock,
  type Metric,
  RankAccumulator,
  type RankResult,
  RocAccumulator,
  type RocResult,
  smallest,
} from '../evaluation/index.js';
import type { Tensor } from '../torch/index.js';
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
}

/**
 * Ranks the gallery for each query of the first trial: lists, measures and the distances of all pairs that count, in
 * one pass and bounded memory.
 *
 * @param top length of the lists
 */
export function rankLists(data: TestData, metric: Metric, top = 10): Findings {
  const { features, pids, protocol } = data;
  refuseNonFinite(data);
  // An image that is its own camera shares it with itself alone.
  const camids = protocol.cameras ? data.camids : data.camids.map((_, row) => row);
  const [{ query, gallery }] = protocol.trials;
  const [gPids, gCamids] = [gallery.map((row) => pids[row]), gallery.map((row) => camids[row])];
  const ranks = new RankAccumulator(gPids, gCamids);
  const pairs = new RocAccumulator(gPids, gCamids);
  const places = new Map<number, number[]>();
  gPids.forEach((pid, g) => {
    const list = places.get(pid);
    if (list) list.push(g);
    else places.set(pid, [g]);
  });
  const junkOf = (row: number): Set<number> =>
    new Set(places.get(pids[row])?.filter((g) => gCamids[g] === camids[row]));
  const lists: RankList[] = [];
  torch.scope(() => {
    const [q, g] = [rowsOf(features, query), rowsOf(features, gallery)];
    forEachDistanceBlock(q, g, metric, (block, from) => {
      const [rows, m] = block.shape;
      const junk = Array.from({ length: rows }, (_, r) => junkOf(query[from + r]));
      const most = junk.reduce((max, one) => Math.max(max, one.size), 0);
      const near = smallest(block, Math.min(m, top + most));
      const values = block.toTypedArray() as Float32Array;
      for (let r = 0; r < rows; r++) {
        const row = query[from + r];
        const distances = values.subarray(r * m, (r + 1) * m);
        ranks.add(from + r, pids[row], camids[row], distances);
        pairs.add(pids[row], camids[row], distances);
        const nearest: Ranked[] = [];
        for (let i = r * near.k; i < (r + 1) * near.k && nearest.length < top; i++) {
          const place = near.indices[i];
          if (junk[r].has(place)) continue;
          nearest.push({
            row: gallery[place],
            distance: near.distances[i],
            right: gPids[place] === pids[row],
          });
        }
        lists.push({ query: row, ap: undefined, nearest });
      }
    });
  });
  const ranking = ranks.result({ maxRank: 50 });
  ranking.counted.forEach((position, i) => {
    lists[position].ap = ranking.ap[i];
  });
  // Queries that count have genuine pairs; impostors there may be none.
  const judged = new Set([...gPids, ...query.map((row) => pids[row])]).size > 1;
  return {
    lists,
    ranking,
    pairs: judged ? { roc: pairs.result(), histogram: pairs.histogram(64) } : undefined,
  };
}

function rowsOf(features: Tensor, rows: readonly number[]): Tensor {
  return features.index_select(0, torch.tensor(BigInt64Array.from(rows, BigInt)));
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
