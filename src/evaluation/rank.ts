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
 * Only the ranks of the hits matter, so nothing is sorted but the hits: one pass over the row counts how many
 * gallery entries come before each of them. That is O(m) mostly, and never more than O(m log hits), where a sort is
 * O(m log m).
 */

import { type Ids, Matches } from './matches.js';

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

/** Not-a-number distances come last, like infinite ones. */
const lastIfNaN = (d: number): number => (Number.isNaN(d) ? Infinity : d);

/** Collects queries a row (or a block of rows) at a time, so that no full distance matrix has to exist. */
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
   * @param query the query's number, kept in `counted`
   * @param distances its distances to all gallery entries, in gallery order
   */
  add(query: number, pid: number, camid: number, distances: ArrayLike<number>): void {
    const m = this.matches.size;
    if (distances.length !== m) {
      throw new Error(`rank: query ${query} has ${distances.length} distances for a gallery of ${m}`);
    }
    const { hits, removed } = this.matches.of(pid, camid);
    if (hits.length === 0) {
      this.dropped++;
      return;
    }
    const ranks = hitRanks(distances, hits, removed);
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

/** Ranks (from 1, removed entries not counted) of the hits, ascending. */
function hitRanks(
  distances: ArrayLike<number>,
  hits: readonly number[],
  removed: readonly number[],
): Float64Array {
  const k = hits.length;
  const order = hits
    .map((g) => ({ g, d: lastIfNaN(distances[g]) }))
    .sort((a, b) => (a.d < b.d ? -1 : a.d > b.d ? 1 : a.g - b.g));
  // Padded to a power of two, so that the search below has a fixed number of steps and no branches, which
  // halves its time: which way a branch goes is as good as random here.
  let half = 1;
  while (2 * half - 1 < k) half *= 2;
  const hitDist = new Float64Array(2 * half).fill(Infinity);
  const hitIndex = new Int32Array(k);
  for (let j = 0; j < k; j++) {
    hitDist[j] = order[j].d;
    hitIndex[j] = order[j].g;
  }
  // before[j]: entries that come after hit j − 1 and not after hit j.
  const before = new Int32Array(2 * half);
  const [nearest, furthest] = [hitDist[0], hitDist[k - 1]];
  const scale = (BUCKETS - 1) / (furthest - nearest);
  // 0 for a hit infinitely far away, where buckets tell nothing apart.
  if (scale > 0 && Number.isFinite(scale)) {
    const buckets = hitsByBucket(hitDist, k, scale);
    let first = 0;
    for (let g = 0; g < distances.length; g++) {
      const d = distances[g];
      // What comes after the last hit, not-a-number too, is nobody's business.
      if (!(d <= furthest)) continue;
      if (d < nearest) {
        first++;
        continue;
      }
      const hits = buckets[((d - nearest) * scale) | 0];
      before[hits >= 0 ? hits : slot(d, g, hitDist, hitIndex, half)]++;
    }
    before[0] += first;
  } else {
    for (let g = 0; g < distances.length; g++) before[slot(distances[g], g, hitDist, hitIndex, half)]++;
  }
  for (const g of removed) before[slot(distances[g], g, hitDist, hitIndex, half)]--;
  const ranks = new Float64Array(k);
  let total = 0;
  for (let j = 0; j < k; j++) {
    total += before[j];
    ranks[j] = total;
  }
  return ranks;
}

const BUCKETS = 1024;
const bucketHits = new Int32Array(BUCKETS);

/**
 * Distances from the first hit's to the last hit's in buckets of equal width: the number of hits before each bucket,
 * or −1 where hits are inside, so that one has to look closer. To which bucket a distance belongs never descends as
 * distances ascend, whatever the rounding, so that the counts are exact. Most entries need no search this way.
 */
function hitsByBucket(hitDist: Float64Array, k: number, scale: number): Int32Array {
  let from = 0;
  for (let j = 0; j < k; j++) {
    const bucket = ((hitDist[j] - hitDist[0]) * scale) | 0;
    if (bucket < from) continue;
    bucketHits.fill(j, from, bucket);
    bucketHits[bucket] = -1;
    from = bucket + 1;
  }
  bucketHits.fill(k, from);
  return bucketHits;
}

/** Number of hits that come strictly before entry `g` at a distance: by distance, then by index. */
function slot(
  distance: number,
  g: number,
  hitDist: Float64Array,
  hitIndex: Int32Array,
  half: number,
): number {
  const d = lastIfNaN(distance);
  let lo = 0;
  for (let step = half; step >= 1; step >>= 1) lo += step & -Number(hitDist[lo + step - 1] < d);
  while (lo < hitIndex.length && hitDist[lo] === d && hitIndex[lo] < g) lo++;
  return lo;
}

/**
 * The measures from a whole distance matrix.
 *
 * @param distances row-major [queries × gallery] values
 * @param qPids identity of each query; `qCamids`, `gPids`, `gCamids` likewise
 */
export function evaluateRank(
  distances: ArrayLike<number> & { subarray?(from: number, to: number): ArrayLike<number> },
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
  for (let q = 0; q < qPids.length; q++) {
    const row = distances.subarray
      ? distances.subarray(q * m, (q + 1) * m)
      : Array.prototype.slice.call(distances, q * m, (q + 1) * m);
    ranks.add(q, qPids[q], qCamids[q], row);
  }
  return ranks.result(options);
}
