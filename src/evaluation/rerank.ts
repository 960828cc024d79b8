import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { DEFAULT_BUDGET, forEachDistanceBlock, forEachRows, type Metric, normalize } from './distance.js';
import { nearestAmong } from './neighbours-among.js';
import { checkReRank } from './options.js';
import { expandedReciprocalSets, type Sets } from './reciprocal.js';
import type { Neighbours } from './smallest.js';
import { SparseBuilder, type SparseRows, transpose } from './sparse.js';

export interface ReRankOptions {
  /** Neighbours that k-reciprocal sets look at (TEST.RERANK.K1). Default 20. */
  k1?: number;
  /** Neighbours whose encodings are averaged (TEST.RERANK.K2). Default 6; 1 leaves them as they are. */
  k2?: number;
  /** Share of the original distance in the result (TEST.RERANK.LAMBDA). Default 0.3; 0 is the Jaccard distance. */
  lambda?: number;
  metric?: Metric;
  /**
   * The variant that FastReID runs: sets of `k1` neighbours, the image itself among them, not `k1 + 1`; squared
   * Euclidean distances as they are as exponents; the metric's distance as it is in the sum.
   */
  compat?: boolean;
  /** MiB that distances may take beside the features and the sparse encodings. */
  budget?: number;
  /** Rows have unit length already. */
  normalized?: boolean;
}

/**
 * Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017), exact: λ d + (1 − λ) J, where d is the square of
 * the metric's distance over the greatest such square of the query's row, and J the Jaccard distance of the
 * encodings of query and gallery image.
 *
 * Queries and gallery are compared all with all, but no such matrix is ever there: blocks of it give the nearest
 * neighbours, everything else is sparse, and J is computed for pairs of query and gallery with anything in common.
 *
 * @param features [n, dim] float32, queries first
 * @param numQuery how many of them are queries
 * @param visit gets blocks of result rows [rows, n − numQuery], row after row, and the first row's number
 * @throws RangeError that names the key of a number that cannot be
 */
export function reRank(
  features: Tensor,
  numQuery: number,
  options: ReRankOptions,
  visit: (rows: Float32Array, from: number) => void,
): void {
  checkReRank(options);
  const { k1 = 20, k2 = 6, lambda = 0.3, metric = 'cosine', compat = false } = options;
  const { budget = DEFAULT_BUDGET, normalized = false } = options;
  torch.noGrad(() =>
    torch.scope(() => {
      const all = metric === 'cosine' && !normalized ? normalize(features) : features;
      const blocks = { budget, normalized: true };
      const near = nearestAmong(all, compat ? k1 : Math.max(k1 + 1, k2), metric, blocks);
      const { largest } = near;
      const exponents = compat
        ? (d: number): number => (metric === 'cosine' ? 2 * d : d)
        : (d: number, row: number): number => scaled(d, largest[row], metric);
      const sets = expandedReciprocalSets(near, k1, compat ? k1 : k1 + 1);
      const encoding = encode(all, sets, near, metric, exponents);
      const [query, gallery] = jaccardParts(encoding, near, k2, numQuery);
      const jaccard = new JaccardRows(query, gallery);
      const m = all.shape[0] - numQuery;
      forEachDistanceBlock(
        all.narrow(0, 0, numQuery),
        all.narrow(0, numQuery, m),
        metric,
        (block, first) => {
          if (!compat) {
            const own = torch
              .tensor(largest.subarray(first, first + block.shape[0]), { device: block.device })
              .clamp_min(TINY);
            block.clamp_min_(0).div_(own.unsqueeze(1));
            if (metric === 'cosine') block.mul_(block);
          }
          block.mul_(lambda).add_(1 - lambda);
          forEachRows(block, (values, row) => {
            const from = first + row;
            for (let r = 0; r * m < values.length; r++)
              jaccard.subtract(from + r, values.subarray(r * m, (r + 1) * m), 1 - lambda);
            visit(values, from);
          });
        },
        blocks,
      );
    }),
  );
}

/** Stands for a row's greatest distance where that is 0. */
const TINY = 1e-37;

/** The square of the distance over the row's greatest; `euclidean` distances are squares. */
function scaled(d: number, largest: number, metric: Metric): number {
  const share = largest > 0 ? d / largest : 0;
  return metric === 'cosine' ? share * share : share;
}

/** V (equation 7): e^−d over the members of each row's set, scaled to the sum 1. */
function encode(
  features: Tensor,
  sets: Sets,
  near: Neighbours,
  metric: Metric,
  exponent: (d: number, row: number) => number,
): SparseRows {
  const n = sets.start.length - 1;
  const builder = new SparseBuilder(n);
  const known = new Float32Array(n).fill(-1);
  for (let i = 0; i < n; i++) {
    const members = sets.members.subarray(sets.start[i], sets.start[i + 1]);
    for (let a = 0; a < near.k; a++) known[near.indices[i * near.k + a]] = near.distances[i * near.k + a];
    const missing = members.filter((j) => known[j] < 0);
    if (missing.length > 0) {
      distancesTo(features, i, missing, metric).forEach((d, a) => {
        known[missing[a]] = Math.max(0, d);
      });
    }
    let sum = 0;
    const weights = Float64Array.from(members, (j) => Math.exp(-exponent(known[j], i)));
    for (const w of weights) sum += w;
    for (let a = 0; a < members.length; a++) builder.push(members[a], weights[a] / sum);
    builder.endRow();
    for (let a = 0; a < near.k; a++) known[near.indices[i * near.k + a]] = -1;
    for (const j of missing) known[j] = -1;
  }
  return builder.finish();
}

/** Distances of row `i` to some rows. */
function distancesTo(features: Tensor, i: number, rows: Int32Array, metric: Metric): Float32Array {
  return torch.scope(() => {
    const others = features.index_select(0, torch.tensor(rows, { device: features.device }));
    const own = features.narrow(0, i, 1);
    const dist =
      metric === 'cosine' ? own.matmul(others.t()).neg_().add_(1) : others.sub(own).pow_(2).sum([1]);
    return dist.toTypedArray() as Float32Array;
  });
}

/**
 * The means of the encodings of each row's first `k2` neighbours (equation 11), of the queries by row and of the
 * gallery by column; of the latter only columns that some query has, since no other can have a part in J.
 */
function jaccardParts(
  v: SparseRows,
  near: Neighbours,
  k2: number,
  numQuery: number,
): [SparseRows, SparseRows] {
  const n = v.start.length - 1;
  const count = Math.min(k2, near.k);
  const sums = new Float64Array(n);
  const seenFor = new Int32Array(n).fill(-1);
  const wanted = new Uint8Array(n);
  let touched = new Int32Array(256);
  const addMean = (i: number, to: SparseBuilder): void => {
    let used = 0;
    for (let a = 0; a < count; a++) {
      // With k2 = 1 the row itself, which need not be its own nearest neighbour.
      const j = k2 === 1 ? i : near.indices[i * near.k + a];
      for (let at = v.start[j]; at < v.start[j + 1]; at++) {
        const c = v.columns[at];
        if (i >= numQuery && wanted[c] === 0) continue;
        if (seenFor[c] !== i) {
          seenFor[c] = i;
          sums[c] = 0;
          if (used === touched.length) {
            const larger = new Int32Array(2 * used);
            larger.set(touched);
            touched = larger;
          }
          touched[used++] = c;
        }
        sums[c] += v.values[at];
      }
    }
    for (let a = 0; a < used; a++) to.push(touched[a], sums[touched[a]] / count);
    to.endRow();
  };
  const query = new SparseBuilder(numQuery);
  for (let i = 0; i < numQuery; i++) addMean(i, query);
  const rows = query.finish();
  for (const c of rows.columns) wanted[c] = 1;
  const gallery = new SparseBuilder(n - numQuery);
  for (let i = numQuery; i < n; i++) addMean(i, gallery);
  return [rows, transpose(gallery.finish(), n)];
}

/** Σ min(V(q), V(g)) of a query with all gallery images at once, through the columns that they have in common. */
class JaccardRows {
  readonly #query: SparseRows;
  readonly #gallery: SparseRows;
  #common = new Float64Array(0);

  constructor(query: SparseRows, galleryByColumn: SparseRows) {
    this.#query = query;
    this.#gallery = galleryByColumn;
  }

  /** Takes `weight` · (1 − J(q, g)) from `row[g]` for each g (equations 9 and 10: J = 1 − s / (2 − s)). */
  subtract(q: number, row: Float32Array, weight: number): void {
    if (this.#common.length !== row.length) this.#common = new Float64Array(row.length);
    const common = this.#common;
    const [query, gallery] = [this.#query, this.#gallery];
    for (let at = query.start[q]; at < query.start[q + 1]; at++) {
      const [c, v] = [query.columns[at], query.values[at]];
      for (let b = gallery.start[c]; b < gallery.start[c + 1]; b++) {
        common[gallery.columns[b]] += Math.min(v, gallery.values[b]);
      }
    }
    for (let at = query.start[q]; at < query.start[q + 1]; at++) {
      const c = query.columns[at];
      for (let b = gallery.start[c]; b < gallery.start[c + 1]; b++) {
        const g = gallery.columns[b];
        const s = common[g];
        if (s === 0) continue;
        row[g] -= weight * Math.min(1, s / (2 - s));
        common[g] = 0;
      }
    }
  }
}
