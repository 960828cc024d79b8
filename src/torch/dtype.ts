/** A tensor's element type. The instances are `torch.float32`, `torch.int64` and so on. */
export class DType {
  readonly name: string;
  /** c10::ScalarType */
  readonly code: number;
  /** Bytes an element. */
  readonly itemsize: number;
  readonly isFloatingPoint: boolean;
  readonly isComplex: boolean;

  constructor(name: string, code: number, itemsize: number) {
    this.name = name;
    this.code = code;
    this.itemsize = itemsize;
    this.isFloatingPoint = name.includes('float');
    this.isComplex = name.startsWith('complex');
  }

  /** As PyTorch prints it: `torch.float32`. */
  toString(): string {
    return `torch.${this.name}`;
  }
}

export const uint8 = new DType('uint8', 0, 1);
export const int8 = new DType('int8', 1, 1);
export const int16 = new DType('int16', 2, 2);
export const int32 = new DType('int32', 3, 4);
export const int64 = new DType('int64', 4, 8);
export const float16 = new DType('float16', 5, 2);
export const float32 = new DType('float32', 6, 4);
export const float64 = new DType('float64', 7, 8);
export const complex32 = new DType('complex32', 8, 4);
export const complex64 = new DType('complex64', 9, 8);
export const complex128 = new DType('complex128', 10, 16);
export const bool = new DType('bool', 11, 1);
export const qint8 = new DType('qint8', 12, 1);
export const quint8 = new DType('quint8', 13, 1);
export const qint32 = new DType('qint32', 14, 4);
export const bfloat16 = new DType('bfloat16', 15, 2);
export const float8_e5m2 = new DType('float8_e5m2', 23, 1);
export const float8_e4m3fn = new DType('float8_e4m3fn', 24, 1);
export const uint16 = new DType('uint16', 27, 2);
export const uint32 = new DType('uint32', 28, 4);
export const uint64 = new DType('uint64', 29, 8);

const byCode = new Map<number, DType>();
for (const dtype of [
  uint8,
  int8,
  int16,
  int32,
  int64,
  float16,
  float32,
  float64,
  complex32,
  complex64,
  complex128,
  bool,
  qint8,
  quint8,
  qint32,
  bfloat16,
  float8_e5m2,
  float8_e4m3fn,
  uint16,
  uint32,
  uint64,
]) {
  byCode.set(dtype.code, dtype);
}

/** The element type with libtorch's number `code`. */
export function dtypeFromCode(code: number): DType {
  const dtype = byCode.get(code);
  if (dtype === undefined) throw new TypeError(`libtorch's dtype number ${code} has no JavaScript form`);
  return dtype;
}

export type TypedArray =
  | Uint8Array
  | Uint8ClampedArray
  | Int8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/** The dtype whose memory a typed array has. */
export function dtypeOfTypedArray(array: TypedArray): DType {
  if (array instanceof Float32Array) return float32;
  if (array instanceof Float64Array) return float64;
  if (array instanceof BigInt64Array) return int64;
  if (array instanceof Int32Array) return int32;
  if (array instanceof Int16Array) return int16;
  if (array instanceof Int8Array) return int8;
  if (array instanceof Uint8Array || array instanceof Uint8ClampedArray) return uint8;
  if (array instanceof Uint16Array) return uint16;
  if (array instanceof Uint32Array) return uint32;
  return uint64;
}

/** A typed array over `bytes` in the memory form of `dtype`; half and bfloat16 come as their 16 bits. */
export function typedArrayOver(dtype: DType, bytes: ArrayBuffer): TypedArray {
  switch (dtype.name) {
    case 'float32':
    case 'complex64':
      return new Float32Array(bytes);
    case 'float64':
    case 'complex128':
      return new Float64Array(bytes);
    case 'int64':
      return new BigInt64Array(bytes);
    case 'uint64':
      return new BigUint64Array(bytes);
    case 'int32':
    case 'qint32':
      return new Int32Array(bytes);
    case 'uint32':
      return new Uint32Array(bytes);
    case 'int16':
      return new Int16Array(bytes);
    case 'uint16':
    case 'float16':
    case 'bfloat16':
    case 'complex32':
      return new Uint16Array(bytes);
    case 'int8':
    case 'qint8':
      return new Int8Array(bytes);
    default:
      return new Uint8Array(bytes);
  }
}
