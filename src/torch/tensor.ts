// The tensor as JavaScript sees it: a number that native/slots.cc knows, and methods. Methods that are ATen
// operators are attached in operators.ts; here stand those that are not.

import { Device, type DeviceLike, deviceFromCode } from './device.js';
import {
  bfloat16,
  bool,
  type DType,
  dtypeFromCode,
  float16,
  float32,
  float64,
  int8,
  int16,
  int32,
  int64,
  type TypedArray,
  typedArrayOver,
  uint8,
} from './dtype.js';
import { header, values } from './exchange.js';
import type { TensorMethods } from './generated/ops.js';
import { type IndexItem, indexPut, indexTensor } from './indexing.js';
import { type Guard, native } from './native.js';
import { addPostAccumulateHook } from './post_accumulate.js';
import { formatTensor } from './printing.js';

/** Shared with memory.ts: how deep in scopes the code runs, and the debug mode's allocation sites. */
export const scopeState: { depth: number; sites: Map<number, string> | undefined } = {
  depth: 0,
  sites: undefined,
};

// biome-ignore lint/suspicious/noConfusingVoidType: a hook may be declared to return nothing
type Nothing = undefined | null | void;

export interface BackwardOptions {
  /** Keep the graph for another backward; by default only when `createGraph` is set. */
  retainGraph?: boolean;
  /** Build a graph of the gradients themselves, for higher derivatives. */
  createGraph?: boolean;
  /** Accumulate gradients only in these tensors. */
  inputs?: readonly Tensor[];
}

/** Takes a hook away again; removing twice does nothing. */
export interface HookHandle extends Disposable {
  remove(): void;
}

export interface ToOptions {
  dtype?: DType;
  device?: DeviceLike;
  nonBlocking?: boolean;
  copy?: boolean;
  memoryFormat?: 'contiguous_format' | 'channels_last' | 'preserve_format';
}

/** Nested arrays of elements; int64 elements beyond 2^53 come as bigint. */
export type NestedArray = number | boolean | bigint | NestedArray[];

export interface Tensor extends TensorMethods {}

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: see above
export class Tensor implements Disposable {
  /** The id in the native slot table. */
  readonly handle: number;
  private guard: Guard | undefined;

  /** For this package: use `torch.tensor`, factories or operators. */
  constructor(handle: number) {
    this.handle = handle;
    this.guard = undefined;
  }

  /** A second JavaScript object for a live id; it does not own the tensor. */
  static borrow(handle: number): Tensor {
    return new Tensor(handle);
  }

  /** @internal One object takes over another's tensor; only one of them may own it. */
  static transfer(from: Tensor, to: Tensor): void {
    to.guard = from.guard;
    from.guard = undefined;
  }

  /** @internal */
  static attachGuard(tensor: Tensor): void {
    if (tensor.guard === undefined) tensor.guard = native.guard(tensor.handle);
  }

  /** Sizes of the dimensions. */
  get shape(): number[] {
    this.readInfo();
    const dim = values[4]!;
    const shape = new Array<number>(dim);
    for (let i = 0; i < dim; i++) shape[i] = values[5 + 2 * i]!;
    return shape;
  }

  /** Steps between elements along each dimension, in elements. */
  get strides(): number[] {
    this.readInfo();
    const dim = values[4]!;
    const strides = new Array<number>(dim);
    for (let i = 0; i < dim; i++) strides[i] = values[6 + 2 * i]!;
    return strides;
  }

  get dtype(): DType {
    this.readInfo();
    return dtypeFromCode(values[0]!);
  }

  get device(): Device {
    this.readInfo();
    return deviceFromCode(values[1]!, values[2]!);
  }

  dim(): number {
    this.readInfo();
    return values[4]!;
  }

  get ndim(): number {
    return this.dim();
  }

  numel(): number {
    this.readInfo();
    let count = 1;
    for (let i = 0; i < values[4]!; i++) count *= values[5 + 2 * i]!;
    return count;
  }

  /** Elements lie in memory in row-major order without gaps. */
  isContiguous(): boolean {
    this.readInfo();
    return (values[3]! & 4) !== 0;
  }

  get requiresGrad(): boolean {
    this.readInfo();
    return (values[3]! & 1) !== 0;
  }

  set requiresGrad(requires: boolean) {
    native.setRequiresGrad(this.handle, requires);
  }

  requiresGrad_(requires = true): this {
    this.requiresGrad = requires;
    return this;
  }

  /** Made by the user and not by an operator that is recorded. */
  get isLeaf(): boolean {
    this.readInfo();
    return (values[3]! & 2) !== 0;
  }

  /** The gradient accumulated by `backward`, or null. */
  get grad(): Tensor | null {
    const id = native.getGrad(this.handle);
    return id === 0 ? null : wrap(id);
  }

  set grad(value: Tensor | null) {
    native.setGrad(this.handle, value === null ? 0 : value.handle);
  }

  /** The name of the node that made this tensor, `AddBackward0`, or null for a leaf. */
  get gradFnName(): string | null {
    return native.gradFnName(this.handle);
  }

  /** Another tensor's memory in this one, as Python's `x.data = y`: the identity, hooks and grad stay. */
  setData(source: Tensor): void {
    native.setData(this.handle, source.handle);
  }

  /**
   * The value of a tensor of one element: a number, a boolean, or a bigint beyond 2^53.
   *
   * @throws Error for any other number of elements
   */
  item(): number | boolean | bigint {
    const count = this.numel();
    // The operator itself reads the first element of however many there are.
    if (count !== 1) throw new Error(`item() needs a tensor of one element; this one has ${count}`);
    return this._local_scalar_dense() as number | boolean | bigint;
  }

  /** The elements, row-major, copied. float16 and bfloat16 come as float32, bool as 0 and 1. */
  toTypedArray(): TypedArray {
    const half = this.dtype === float16 || this.dtype === bfloat16 || this.dtype.name.startsWith('float8');
    const source = half ? (this.detach().to(float32) as Tensor) : this;
    const bytes = new ArrayBuffer(source.numel() * source.dtype.itemsize);
    native.readBytes(source.handle, bytes);
    const array = typedArrayOver(source.dtype, bytes);
    if (source !== this) source.dispose();
    return array;
  }

  /** The elements as nested arrays. */
  toArray(): NestedArray {
    if (this.dtype.isComplex) throw new TypeError('complex elements need view_as_real');
    const flat = this.toTypedArray();
    const { shape, dtype } = this;
    let next = 0;
    const element = (): NestedArray => {
      const value = flat[next++]!;
      if (dtype === bool) return value !== 0;
      if (typeof value !== 'bigint') return value;
      return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;
    };
    const build = (axis: number): NestedArray => {
      if (axis === shape.length) return element();
      return Array.from({ length: shape[axis]! }, () => build(axis + 1));
    };
    return build(0);
  }

  /** The same as `toArray`. */
  tolist(): NestedArray {
    return this.toArray();
  }

  toString(): string {
    return this.isDisposed ? 'Tensor(released)' : formatTensor(this);
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /** `x[items]` of Python: numbers, `torch.slice(a, b)`, null, '...', tensors of indices, boolean masks. */
  index(...items: IndexItem[]): Tensor {
    return indexTensor(this, items);
  }

  /** `x[items] = value` of Python, in place. */
  indexPut_(
    items: readonly IndexItem[],
    value: Tensor | number | boolean | bigint,
    accumulate = false,
  ): this {
    indexPut(this, [...items], value, accumulate);
    return this;
  }

  /** The same values with another dtype, device or memory format; `this` where nothing has to change. */
  to(target: DType | DeviceLike | Tensor | ToOptions): Tensor {
    const options = toOptions(target);
    const { dtype, device } = options;
    if (
      options.copy !== true &&
      options.memoryFormat === undefined &&
      (dtype === undefined || dtype === this.dtype) &&
      (device === undefined || sameDevice(this.device, device))
    ) {
      return this;
    }
    return this._to_copy({
      dtype,
      device: device === undefined ? undefined : String(device),
      non_blocking: options.nonBlocking ?? false,
      memory_format: options.memoryFormat,
    }) as Tensor;
  }

  float(): Tensor {
    return this.to(float32);
  }
  double(): Tensor {
    return this.to(float64);
  }
  half(): Tensor {
    return this.to(float16);
  }
  bfloat16(): Tensor {
    return this.to(bfloat16);
  }
  long(): Tensor {
    return this.to(int64);
  }
  int(): Tensor {
    return this.to(int32);
  }
  short(): Tensor {
    return this.to(int16);
  }
  char(): Tensor {
    return this.to(int8);
  }
  byte(): Tensor {
    return this.to(uint8);
  }
  bool(): Tensor {
    return this.to(bool);
  }
  cpu(): Tensor {
    return this.to('cpu');
  }
  cuda(index?: number): Tensor {
    return this.to(index === undefined ? 'cuda' : `cuda:${index}`);
  }

  /**
   * Accumulates gradients in the leaves of the graph that made this tensor.
   *
   * @param gradient the vector of the vector-Jacobian product; may be left out for a single element
   */
  backward(gradient?: Tensor | null, options: BackwardOptions = {}): void {
    native.backward(
      [this.handle],
      gradient ? [gradient.handle] : [],
      options.retainGraph,
      options.createGraph ?? false,
      (options.inputs ?? []).map((input) => input.handle),
    );
  }

  /** Keep the gradient of this non-leaf tensor too. */
  retainGrad(): void {
    native.retainGrad(this.handle);
  }

  /**
   * Calls `hook` with the gradient of this tensor whenever it is computed; a tensor it returns takes the
   * gradient's place. An error thrown in it stops backward and comes out of `backward()`.
   */
  registerHook(hook: (grad: Tensor) => Tensor | Nothing): HookHandle {
    let removed = false;
    const index = native.registerHook(this.handle, ([id]) => {
      // The graph may outlive this tensor's slot, through which alone a hook can be taken out of it.
      if (removed) return undefined;
      const result = hook(wrap(id!));
      return result ? [result.handle] : undefined;
    });
    const { handle } = this;
    const remove = () => {
      if (!removed && native.alive(handle)) native.removeHook(handle, index);
      removed = true;
    };
    return { remove, [Symbol.dispose]: remove };
  }

  /** Calls `hook` with this leaf tensor each time a gradient has been accumulated in its `grad`. */
  registerPostAccumulateGradHook(hook: (tensor: Tensor) => void): HookHandle {
    return addPostAccumulateHook(this, hook);
  }

  get isDisposed(): boolean {
    return !native.alive(this.handle);
  }

  /** Releases JavaScript's hold. Views, graphs and modules that use the memory keep it as long as they need. */
  dispose(): void {
    native.dispose(this.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Takes the tensor out of every scope; from here the garbage collector owns it. */
  keep(): this {
    native.keep(this.handle);
    Tensor.attachGuard(this);
    return this;
  }

  private readInfo(): void {
    values[0] = this.handle;
    header[2] = header[2]! + 1;
    native.info();
  }
}

/** A tensor object for an id that has just come from the addon. */
export function wrap(id: number): Tensor {
  const tensor = new Tensor(id);
  if (scopeState.depth === 0) Tensor.attachGuard(tensor);
  if (scopeState.sites !== undefined) scopeState.sites.set(id, new Error('allocated here').stack ?? '');
  return tensor;
}

/** Lets the garbage collector release the tensor. */
export function guard(tensor: Tensor): void {
  Tensor.attachGuard(tensor);
}

function toOptions(target: DType | DeviceLike | Tensor | ToOptions): ToOptions {
  if (typeof target === 'string' || target instanceof Device) return { device: target };
  if (target instanceof Tensor) return { dtype: target.dtype, device: target.device };
  if ('code' in target) return { dtype: target };
  return target;
}

function sameDevice(device: Device, wanted: DeviceLike): boolean {
  const name = String(wanted);
  if (device.toString() === name) return true;
  // Without a number it is the current one.
  return device.type === name && device.index === native.cuda?.currentDevice();
}
