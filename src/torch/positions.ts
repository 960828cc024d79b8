import { native } from './native.js';
import { type Tensor, wrap } from './tensor.js';

/**
 * The positions, from 0, that some entries would have if each row were sorted ascending, equal entries as they stand
 * and not-a-numbers last, together with infinity. Nothing is sorted: entries that come before are counted, on all
 * threads.
 *
 * @param values [n, m] float32 or float64, on the CPU
 * @param columns [n, k] int32, on the CPU; −1 stands for no column
 * @returns [n, k] int32; −1 where there is no column
 * @throws TypeError for other shapes, dtypes and devices, and for a column that there is not
 */
export function sortedPositions(values: Tensor, columns: Tensor): Tensor {
  return wrap(native.sortedPositions(values.handle, columns.handle));
}

/**
 * How many entries of each row come before some numbers, ascending: those that are less, or equal and left of the
 * number's column. Where a row is there in pieces, its counts are the sums of those of the pieces, with columns counted
 * from each piece's own first.
 *
 * @param values [n, m] float32 or float64, on the CPU; not-a-numbers come before none that is finite
 * @param bounds [n, k], of the same dtype; not-a-number stands for none
 * @param columns [n, k] int32, on the CPU; they may be outside of the row
 * @returns [n, k] int32; 0 where there is no bound
 * @throws TypeError for other shapes, dtypes and devices
 */
export function countBefore(values: Tensor, bounds: Tensor, columns: Tensor): Tensor {
  return wrap(native.countBefore(values.handle, bounds.handle, columns.handle));
}
