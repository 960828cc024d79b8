import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** A copy of some rows of a matrix, in the given order. */
export function takeRows(matrix: Tensor, rows: readonly number[]): Tensor {
  return matrix.index_select(0, torch.tensor(Int32Array.from(rows), { device: matrix.device }));
}

/** Rows of a matrix in the given order: a view where they are a contiguous piece, else a copy. */
export function rowsOf(matrix: Tensor, rows: readonly number[]): Tensor {
  const [first] = rows;
  const contiguous = rows.length > 0 && rows.every((row, i) => row === first + i);
  return contiguous ? matrix.narrow(0, first, rows.length) : takeRows(matrix, rows);
}
