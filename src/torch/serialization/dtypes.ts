/** Element types in files, by the names that PyTorch and safetensors give them. */

import type { DType } from '../dtype.js';
import * as dtypes from '../dtype.js';

/** PyTorch's storage classes by the dtype they stand for. Newer dtypes have none. */
export const storageClasses: Readonly<Record<string, string>> = {
  float32: 'FloatStorage',
  float64: 'DoubleStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  int16: 'ShortStorage',
  int8: 'CharStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
};

/** PyTorch's name, or an alias of it. */
const byName = new Map<string, DType>([
  ['float', dtypes.float32],
  ['double', dtypes.float64],
  ['half', dtypes.float16],
  ['long', dtypes.int64],
  ['int', dtypes.int32],
  ['short', dtypes.int16],
]);

const bySafetensorsName = new Map<string, DType>([
  ['F64', dtypes.float64],
  ['F32', dtypes.float32],
  ['F16', dtypes.float16],
  ['BF16', dtypes.bfloat16],
  ['I64', dtypes.int64],
  ['I32', dtypes.int32],
  ['I16', dtypes.int16],
  ['I8', dtypes.int8],
  ['U8', dtypes.uint8],
  ['BOOL', dtypes.bool],
  ['U64', dtypes.uint64],
  ['U32', dtypes.uint32],
  ['U16', dtypes.uint16],
]);
const safetensorsNames = new Map<DType, string>();
for (const [name, dtype] of bySafetensorsName) {
  safetensorsNames.set(dtype, name);
  byName.set(dtype.name, dtype);
}

/** The dtype of this PyTorch name, if tensors of it can be read and written. */
export function dtypeNamed(name: string): DType | undefined {
  return byName.get(name);
}

export function dtypeFromSafetensors(name: string): DType | undefined {
  return bySafetensorsName.get(name);
}

export function safetensorsName(dtype: DType): string | undefined {
  return safetensorsNames.get(dtype);
}
