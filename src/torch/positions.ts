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
