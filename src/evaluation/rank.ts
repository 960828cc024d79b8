/**
 * Ranking measures of re-identification: CMC, average precision and inverse negative penalty.
 *
 * For each query the gallery is ordered by distance (equal distances by gallery index), entries with the query's
 * identity *and* camera are left out, and then
 * - AP is the mean over the hits of the precision at that hit (no trapezoids),
 * - INP is the number of hits over the rank, counted from 1, of the last hit,
 * - CMC[r − 1] is 1 when the first hit's rank is at most r.
 * A query without any hit counts nowhere; how many there were is reported.
 *
 * Only the ranks of the hits matter, so nothing is sorted: gallery entries that come before a hit are counted.
 */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type Ids, Matches } from './matches.js';
import type { PositionsOf } from './positions.js';

export type { Ids } from './matches.js';

export interface RankOptions {
  /** Length of the CMC curve. Default 50; with a smaller gallery the curve is padded with its last value. */
  maxRank?: number;
}

export interface RankResult {
  /** Share of counted queries whose first hit is among the first r + 1, r = 0 … maxRank − 1; in [0, 1]. */
  cmc: Float64Array;
  /** Average precision of each counted query, in query order. */
  ap: number[];
  /** Inverse negative penalty of each counted query, in query order. */
  inp: number[];
  /** Rank, from 1, of each counted query's first hit. */
  firstRanks: number[];
  /**
   * Average precision within the first R, of each counted query, where R is the number of its matches: precisions at
   * hits among them, summed and divided by R (mAP@R; Musgrave et al., ECCV 2020).
   */
  apAtR: number[];
  /** Share of hits among the first R, of each counted query. */
  rPrecision: number[];
  /** Query numbers that were counted. */
  counted: number[];
  /** Queries left out because no gallery image of theirs, from another camera, exists. */
  dropped: number;
  /** Means of `ap` and `inp`, in [0, 1]. */
  mAP: number;
  mINP: number;
}

/** Collects queries a block at a time, so that no full distance matrix has to exist. */
export class RankAccumulator {
  private readonly matches: Matches;
  private readonly firstRanks: number[] = [];
  private readonly apAtR: number[] = [];
  private readonly rPrecision: number[] = [];
  private readonly ap: number[] = [];
  private readonly inp: number[] = [];
  private readonly counted: number[] = [];
  private dropped = 0;

  constructor(gPids: Ids, gCamids: Ids) {
    this.matches = new Matches(gPids, gCamids);
  }

  /**
   * Queries numbered `first`, `first + 1`, … as `counted` will have them.
   *
   * @param pids their identities; `camids` their cameras
   * @param distances [queries, gallery] float32 or float64, in gallery order; not-a-numbers come last
   */
  addRows(first: number, pids: Ids, camids: Ids, distances: Tensor): void {
    const [rows, m] = distances.shape;
    if (m !== this.matches.size || pids.length !== rows || camids.length !== rows) {
      throw new Error(
        `rank: distances [${rows}, ${m}] do not fit ${pids.length} query identities, ${camids.length} query ` +
          `cameras and ${this.matches.size} gallery entries`,
      );
    }
    this.addQueries(first, pids, camids, (columns) => torch.sortedPositions(distances.cpu(), columns));
  }

  /**
   * As {@link addRows}, where distances are not there.
   *
   * @param positionsOf positions, by distance, of gallery images [queries, k] int32, of which −1 is none
   */
  addQueries(first: number, pids: Ids, camids: Ids, positionsOf: PositionsOf): void {
    const rows = pids.length;
    const matches = Array.from({ length: rows }, (_, r) => this.matches.of(pids[r], camids[r]));
    const k = matches.reduce((most, { hits, removed }) => Math.max(most, hits.length + removed.length), 0);
    const columns = new Int32Array(rows * k).fill(-1);
    matches.forEach(({ hits, removed }, r) => {
      if (hits.length === 0) return;
      columns.set(hits, r * k);
      columns.set(removed, r * k + hits.length);
    });
    const positions = torch.scope(
      () => positionsOf(torch.fromTypedArray(columns, [rows, k])).toTypedArray() as Int32Array,
    );
    matches.forEach(({ hits, removed }, r) => {
      if (hits.length === 0) {
        this.dropped++;
        return;
      }
      const own = positions.subarray(r * k, r * k + hits.length + removed.length);
      this.addRanks(first + r, ranksOf(own.subarray(0, hits.length), own.subarray(hits.length)));
    });
  }

  /** As {@link addRows}, of one query. */
  add(query: number, pid: number, camid: number, distances: ArrayLike<number>): void {
    torch.scope(() => this.addRows(query, [pid], [camid], matrix(distances, 1)));
  }

  /** @param ranks from 1, of all hits of a query, ascending */
  private addRanks(query: number, ranks: Int32Array): void {
    let precisions = 0;
    let withinR = 0;
    let hitsWithinR = 0;
    for (let j = 0; j < ranks.length; j++) {
      precisions += (j + 1) / ranks[j];
      if (ranks[j] <= ranks.length) {
        withinR = precisions;
        hitsWithinR = j + 1;
      }
    }
    this.ap.push(precisions / ranks.length);
    this.apAtR.push(withinR / ranks.length);
    this.rPrecision.push(hitsWithinR / ranks.length);
    this.inp.push(ranks.length / ranks[ranks.length - 1]);
    this.firstRanks.push(ranks[0]);
    this.counted.push(query);
  }

  /** Queries counted so far. */
  get size(): number {
    return this.counted.length;
  }

  /** Throws when no query could be counted. */
  result({ maxRank = 50 }: RankOptions = {}): RankResult {
    const n = this.counted.length;
    if (n === 0) {
      throw new Error(
        `evaluation: none of the ${this.dropped} queries has a gallery image of the same identity from another ` +
          'camera; check the identity and camera numbers that the dataset reads from its file names',
      );
    }
    const cmc = new Float64Array(maxRank);
    for (const first of this.firstRanks) if (first <= maxRank) cmc[first - 1]++;
    for (let r = 1; r < maxRank; r++) cmc[r] += cmc[r - 1];
    for (let r = 0; r < maxRank; r++) cmc[r] /= n;
    const mean = (xs: number[]): number => xs.reduce((a, b) => a + b, 0) / n;
    const { ap, inp, firstRanks, apAtR, rPrecision, counted, dropped } = this;
    return { cmc, ap, inp, firstRanks, apAtR, rPrecision, counted, dropped, mAP: mean(ap), mINP: mean(inp) };
  }
}

/** Ranks (from 1, ascending) of hits among what is not removed, from positions among all; both are sorted. */
function ranksOf(hits: Int32Array, removed: Int32Array): Int32Array {
  hits.sort();
  removed.sort();
  let gone = 0;
  return hits.map((position) => {
    while (gone < removed.length && removed[gone] < position) gone++;
    return position - gone + 1;
  });
}

function matrix(distances: ArrayLike<number>, rows: number): Tensor {
  const values = distances instanceof Float32Array ? distances : Float64Array.from(distances);
  return torch.fromTypedArray(values, [rows, values.length / Math.max(1, rows)]);
}

/**
 * The measures from a whole distance matrix.
 *
 * @param distances row-major [queries × gallery] values
 * @param qPids identity of each query; `qCamids`, `gPids`, `gCamids` likewise
 */
export function evaluateRank(
  distances: ArrayLike<number>,
  qPids: Ids,
  gPids: Ids,
  qCamids: Ids,
  gCamids: Ids,
  options: RankOptions = {},
): RankResult {
  const m = gPids.length;
  if (qPids.length !== qCamids.length || distances.length !== qPids.length * m) {
    throw new Error(
      `rank: ${distances.length} distances do not fit ${qPids.length} query identities, ${qCamids.length} query ` +
        `cameras and ${m} gallery entries`,
    );
  }
  const ranks = new RankAccumulator(gPids, gCamids);
  torch.scope(() => ranks.addRows(0, qPids, qCamids, matrix(distances, qPids.length)));
  return ranks.result(options);
}
