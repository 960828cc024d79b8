import type { Tensor } from '../torch/index.js';

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
