import type { Tensor } from '../torch/index.js';
import { forEachDistanceBlock, type Metric } from './distance.js';

/** The `k` nearest of each of `n` rows, nearest first, row after row. */
export interface Neighbours {
  /** Neighbours of each row. */
  readonly k: number;
  /** Column numbers [n × k]. */
  readonly indices: Int32Array;
  /** Their distances [n × k]. */
  readonly distances: Float32Array;
}

/**
 * The `k` smallest values of each row of `block`, smallest first, equal ones by column: `topk`, which leaves open
 * what it does with equal values, made definite.
 *
 * @param block [rows, columns] float32
 * @param k at most `columns`
 */
export function smallest(block: Tensor, k: number): Neighbours {
  const [rows, columns] = block.shape;
  // One more than asked for shows whether the last value goes on behind the border.
  const wide = Math.min(k + 1, columns);
  const [values, places] = block.topk(wide, 1, false, true);
  const wideDistances = values.toTypedArray() as Float32Array;
  const wideIndices = places.int().toTypedArray() as Int32Array;
  const indices = new Int32Array(rows * k);
  const distances = new Float32Array(rows * k);
  for (let r = 0; r < rows; r++) {
    const row = wideDistances.subarray(r * wide, (r + 1) * wide);
    const own = indices.subarray(r * k, (r + 1) * k);
    own.set(wideIndices.subarray(r * wide, r * wide + k));
    distances.set(row.subarray(0, k), r * k);
    if (wide > k && row[k] === row[k - 1]) {
      takeFirstOfEqual(block.select(0, r).toTypedArray() as Float32Array, row, own);
    }
    sortEqual(row, own);
  }
  return { k, indices, distances };
}

/** Replaces the neighbours at the last distance by the first columns that have it. */
function takeFirstOfEqual(all: Float32Array, sorted: Float32Array, own: Int32Array): void {
  const last = sorted[own.length - 1];
  let at = sorted.indexOf(last);
  for (let column = 0; at < own.length; column++) if (all[column] === last) own[at++] = column;
}

/** Columns with equal distances in ascending order. */
function sortEqual(sorted: Float32Array, own: Int32Array): void {
  for (let from = 0; from < own.length; ) {
    let to = from + 1;
    while (to < own.length && sorted[to] === sorted[from]) to++;
    if (to - from > 1) own.subarray(from, to).sort();
    from = to;
  }
}

export interface NeighbourOptions {
  /** MiB that blocks of distances may take. */
  budget?: number;
  /** Rows have unit length already. */
  normalized?: boolean;
  /** Also told of each block of distances [rows, m], before its neighbours are looked for; may change it. */
  visit?: (block: Tensor, from: number) => void;
}

/**
 * The `k` rows of `gallery` nearest to each row of `query`, equally near ones by number. With fewer rows than `k`
 * in the gallery, all of them.
 *
 * @param query [n, dim] float32
 * @param gallery [m, dim] float32, on the same device
 */
export function nearestRows(
  query: Tensor,
  gallery: Tensor,
  k: number,
  metric: Metric,
  { visit, ...options }: NeighbourOptions = {},
): Neighbours {
  const [n, m] = [query.shape[0], gallery.shape[0]];
  const width = Math.min(k, m);
  const indices = new Int32Array(n * width);
  const distances = new Float32Array(n * width);
  forEachDistanceBlock(
    query,
    gallery,
    metric,
    (block, from) => {
      visit?.(block, from);
      const found = smallest(block, width);
      indices.set(found.indices, from * width);
      distances.set(found.distances, from * width);
    },
    options,
  );
  return { k: width, indices, distances };
}
