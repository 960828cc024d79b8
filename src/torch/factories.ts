// Tensors from JavaScript values, and the factories whose dtype rules differ because JavaScript has one kind
// of number.

import { markAsUntransferable } from 'node:worker_threads';
import type { DeviceLike } from './device.js';
import { bool, type DType, dtypeOfTypedArray, float32, int64, type TypedArray } from './dtype.js';
import * as aten from './generated/ops.js';
import { native } from './native.js';
import type { Generator } from './random.js';
import { type NestedArray, Tensor, wrap } from './tensor.js';

export interface TensorOptions {
  dtype?: DType;
  device?: DeviceLike;
  requiresGrad?: boolean;
}

export interface RandomOptions extends TensorOptions {
  generator?: Generator;
}

type Size = readonly number[] | number;
type Create = (...args: unknown[]) => Tensor;

const sizeOf = (size: Size): readonly number[] => (typeof size === 'number' ? [size] : size);

function create(factory: unknown, args: unknown[], options: RandomOptions = {}): Tensor {
  const { dtype, device, generator, requiresGrad, ...rest } = options;
  const result = (factory as Create)(...args, {
    ...rest,
    dtype,
    device: device === undefined ? undefined : String(device),
    generator,
  });
  return requiresGrad ? result.requiresGrad_() : result;
}

/** A tensor of zeros; float32 unless `dtype` says otherwise. */
export function zeros(size: Size, options?: TensorOptions): Tensor {
  return create(aten.zeros, [sizeOf(size)], options);
}

/** A tensor of ones; float32 unless `dtype` says otherwise. */
export function ones(size: Size, options?: TensorOptions): Tensor {
  return create(aten.ones, [sizeOf(size)], options);
}

/** A tensor whose elements are not initialised; with `pinMemory`, in page-locked memory (which needs CUDA). */
export function empty(size: Size, options: TensorOptions & { pinMemory?: boolean } = {}): Tensor {
  const { pinMemory, ...rest } = options;
  return create(aten.empty, [sizeOf(size)], pinMemory ? { ...rest, ...{ pin_memory: true } } : rest);
}

/** A tensor of one value: float32 for a number, int64 for a bigint, bool for a boolean. */
export function full(size: Size, value: number | bigint | boolean, options: TensorOptions = {}): Tensor {
  const dtype = options.dtype ?? dtypeOfValue(value);
  return create(aten.full, [sizeOf(size), value], { ...options, dtype });
}

/** Numbers from `start` (0) up to but without `end`; int64 when all are integers. */
export function arange(end: number, options?: TensorOptions): Tensor;
export function arange(start: number, end: number, step?: number, options?: TensorOptions): Tensor;
export function arange(...args: unknown[]): Tensor {
  const last = args.at(-1);
  const options = typeof last === 'object' && last !== null ? (args.pop() as TensorOptions) : undefined;
  return create(
    aten.arange,
    args.filter((value) => value !== undefined),
    options,
  );
}

/** `steps` numbers from `start` to `end`, both included. */
export function linspace(start: number, end: number, steps: number, options?: TensorOptions): Tensor {
  return create(aten.linspace, [start, end, steps], options);
}

/** An identity matrix of `n` rows and `m` (n) columns. */
export function eye(n: number, m?: number | TensorOptions, options?: TensorOptions): Tensor {
  if (typeof m === 'number') return create(aten.eye, [n, m], options);
  return create(aten.eye, [n], m ?? options);
}

/** Uniform in [0, 1). */
export function rand(size: Size, options?: RandomOptions): Tensor {
  return create(aten.rand, [sizeOf(size)], options);
}

/** Standard normal. */
export function randn(size: Size, options?: RandomOptions): Tensor {
  return create(aten.randn, [sizeOf(size)], options);
}

/** Uniform integers in [low, high), int64. */
export function randint(low: number, high: number, size: Size, options?: RandomOptions): Tensor {
  return create(aten.randint, [low, high, sizeOf(size)], options);
}

/** A random permutation of 0 … n − 1, int64. */
export function randperm(n: number, options?: RandomOptions): Tensor {
  return create(aten.randperm, [n], options);
}

function dtypeOfValue(value: unknown): DType {
  if (typeof value === 'bigint') return int64;
  if (typeof value === 'boolean') return bool;
  return float32;
}

function isTypedArray(value: unknown): value is TypedArray {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

/**
 * A tensor with a copy of `data`: a number, boolean, bigint, nested arrays of them, a typed array or a tensor.
 * Numbers become float32, bigints int64, booleans bool, typed arrays keep their type.
 *
 * @throws TypeError for ragged arrays and mixed kinds, naming the place
 */
export function tensor(
  data: NestedArray | readonly NestedArray[] | TypedArray | Tensor,
  options: TensorOptions = {},
): Tensor {
  const made = make(data, options);
  return options.requiresGrad ? made.requiresGrad_() : made;
}

function make(data: unknown, options: TensorOptions): Tensor {
  const { dtype, device } = options;
  if (data instanceof Tensor) return data.detach().to({ dtype, device, copy: true });
  if (isTypedArray(data)) return moved(fromView(data, [data.length], true), dtype, device);
  const shape: number[] = [];
  for (let level: unknown = data; Array.isArray(level); level = level[0]) {
    shape.push(level.length);
    if (level.length === 0) break;
    if (shape.length > 64) throw new TypeError('nested arrays are at most 64 deep');
  }
  const flat: unknown[] = [];
  flatten(data, shape, 0, '', flat);
  const kind = flat.length === 0 ? 'number' : typeof flat[0];
  for (let i = 0; i < flat.length; i++) {
    if (typeof flat[i] !== kind)
      throw new TypeError(`element ${i} is a ${typeof flat[i]} among values of type ${kind}`);
  }
  let array: TypedArray;
  let made: DType;
  if (kind === 'bigint') {
    array = BigInt64Array.from(flat as bigint[]);
    made = int64;
  } else if (kind === 'boolean') {
    array = Uint8Array.from(flat as boolean[], Number);
    made = bool;
  } else if (kind === 'number') {
    // float64 holds every integer that a wider dtype asked for may need.
    array =
      dtype === undefined || dtype === float32
        ? Float32Array.from(flat as number[])
        : Float64Array.from(flat as number[]);
    made = dtypeOfTypedArray(array);
  } else {
    throw new TypeError(`a tensor cannot be made of values of type ${kind}`);
  }
  return moved(fromBytes(array, made, shape, true), dtype, device);
}

function moved(made: Tensor, dtype: DType | undefined, device: DeviceLike | undefined): Tensor {
  const result = made.to({ dtype, device });
  if (result !== made) made.dispose();
  return result;
}

function flatten(data: unknown, shape: readonly number[], axis: number, path: string, out: unknown[]): void {
  if (axis === shape.length) {
    if (Array.isArray(data))
      throw new TypeError(`nested arrays are ragged: ${path || 'the root'} is deeper than the first`);
    out.push(data);
    return;
  }
  if (!Array.isArray(data) || data.length !== shape[axis]) {
    const found = Array.isArray(data) ? `has ${data.length} elements` : 'is no array';
    throw new TypeError(`nested arrays are ragged: [${path}] ${found}, ${shape[axis]} are expected`);
  }
  for (let i = 0; i < data.length; i++)
    flatten(data[i], shape, axis + 1, path === '' ? `${i}` : `${path}][${i}`, out);
}

function fromBytes(view: ArrayBufferView, dtype: DType, shape: readonly number[], copy: boolean): Tensor {
  let { buffer, byteOffset } = view;
  const { byteLength } = view;
  if (!(buffer instanceof ArrayBuffer)) {
    if (!copy) throw new TypeError('memory of a SharedArrayBuffer cannot become a tensor without a copy');
    buffer = new Uint8Array(buffer as ArrayBufferLike, byteOffset, byteLength).slice().buffer;
    byteOffset = 0;
  }
  if (!copy) {
    if ((buffer as { resizable?: boolean }).resizable) {
      throw new TypeError('memory of a resizable ArrayBuffer cannot become a tensor without a copy');
    }
    // Another thread would free the memory under the tensor; this way a transfer fails, or copies.
    markAsUntransferable(buffer);
  }
  return wrap(native.fromBuffer(buffer, byteOffset, byteLength, dtype.code, shape, copy));
}

function fromView(array: TypedArray, shape: readonly number[], copy: boolean): Tensor {
  return fromBytes(array, dtypeOfTypedArray(array), shape, copy);
}

/**
 * A tensor over the memory of a typed array, without a copy: changes are seen by both. The memory must stay where
 * it is: the buffer can no longer be transferred to another thread, and must not be given up by `transfer()`.
 *
 * @throws TypeError for memory that is shared between threads or can be resized
 */
export function fromTypedArray(array: TypedArray, shape: readonly number[] = [array.length]): Tensor {
  return fromView(array, shape, false);
}

/**
 * A tensor over the bytes of a Buffer or any view, without a copy unless `copy` is set.
 *
 * @throws TypeError when shape and dtype do not need exactly these bytes, or the memory is not aligned
 */
export function fromBuffer(
  bytes: ArrayBufferView,
  dtype: DType,
  shape: readonly number[],
  options: { copy?: boolean } = {},
): Tensor {
  return fromBytes(bytes, dtype, shape, options.copy ?? false);
}
