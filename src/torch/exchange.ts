// How an operator call crosses: arguments are written as tags and numbers into memory that the addon reads
// directly, and its results come back the same way. native/env.h holds the same list of tags.

import { Device, deviceFromCode } from './device.js';
import { DType } from './dtype.js';
import { native } from './native.js';
import { Generator } from './random.js';
import { Tensor, wrap } from './tensor.js';

const UNDEFINED = 0;
const NULL = 1;
const TENSOR = 2;
const NUMBER = 3;
const BOOL = 4;
const NUMBER_LIST = 5;
const TENSOR_LIST = 6;
const STRING = 7;
const BIGINT = 8;
const DTYPE = 9;
const BOOL_LIST = 10;
const KEYWORD = 11;
const GENERATOR = 12;
const EMPTY_LIST = 13;
const SAME = 14;
const DEVICE = 15;

const capacity = native.exchangeCapacity;
const buffer = new ArrayBuffer(native.exchangeBytes);
/** [0] operator, [1] number of entries, [2] counts the uses: what is half written when it changes is lost. */
export const header = new Int32Array(buffer, 0, 16);
const tags = new Uint8Array(buffer, 64, capacity);
export const values = new Float64Array(buffer, 64 + capacity, capacity);
const integers = new BigInt64Array(buffer, 64 + capacity, capacity);
native.attach(buffer);

const strings = new Map<string, number>();

function intern(text: string): number {
  let index = strings.get(text);
  if (index === undefined) {
    index = native.intern(text);
    strings.set(text, index);
  }
  return index;
}

const names: string[] = [];
let calling = -1;

/** Tells errors what operator `index` is called. */
export function nameOperator(index: number, name: string): void {
  names[index] = name;
}

function refuse(text: string): never {
  const name = names[calling] ?? '';
  const schemas = native.schemas(name).map(([schema]) => `\n  ${schema}`);
  throw new TypeError(`aten::${name}: ${text}. Candidates:${schemas.join('')}`);
}

/** Writes one argument at `at`; returns the next free place. */
function put(at: number, value: unknown): number {
  if (value instanceof Tensor) {
    tags[at] = TENSOR;
    values[at] = value.handle;
    return at + 1;
  }
  if (typeof value === 'number') {
    tags[at] = NUMBER;
    values[at] = value;
    return at + 1;
  }
  return putOther(at, value);
}

function putOther(at: number, value: unknown): number {
  switch (typeof value) {
    case 'undefined':
      tags[at] = UNDEFINED;
      return at + 1;
    case 'boolean':
      tags[at] = BOOL;
      values[at] = value ? 1 : 0;
      return at + 1;
    case 'string':
      tags[at] = STRING;
      values[at] = intern(value);
      return at + 1;
    case 'bigint':
      if (BigInt.asIntN(64, value) !== value) refuse(`${value}n does not fit in 64 bits`);
      tags[at] = BIGINT;
      integers[at] = value;
      return at + 1;
    case 'object':
      if (value === null) {
        tags[at] = NULL;
        return at + 1;
      }
      if (Array.isArray(value)) return putList(at, value);
      if (value instanceof DType) {
        tags[at] = DTYPE;
        values[at] = value.code;
        return at + 1;
      }
      if (value instanceof Generator) {
        tags[at] = GENERATOR;
        values[at] = value.handle;
        return at + 1;
      }
      if (value instanceof Device) return putOther(at, value.toString());
      if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
        return putList(at, Array.from(value as unknown as ArrayLike<number | bigint>));
      }
      break;
    default:
  }
  refuse(`${describe(value)} cannot be an argument of a tensor operator`);
}

function describe(value: unknown): string {
  if (typeof value === 'object' && value !== null) {
    const name = (value as { constructor?: { name?: unknown } }).constructor?.name;
    return typeof name === 'string' && name !== '' ? `an object (${name})` : 'an object';
  }
  return `a ${typeof value}`;
}

function putList(at: number, list: readonly unknown[]): number {
  const length = list.length;
  if (at + length + 2 >= capacity) {
    refuse(`a list of ${length} elements is too long for an operator call: use a tensor`);
  }
  if (length === 0) {
    tags[at] = EMPTY_LIST;
    return at + 1;
  }
  const first = list[0];
  if (typeof first === 'number' || typeof first === 'bigint') {
    for (let i = 0; i < length; i++) {
      const element = list[i];
      if (typeof element !== 'number' && typeof element !== 'bigint') {
        refuse(`element ${i} of a list of numbers is ${describe(element)}`);
      }
      putOtherNumber(at + 1 + i, element);
    }
    tags[at] = NUMBER_LIST;
  } else if (typeof first === 'boolean') {
    for (let i = 0; i < length; i++) {
      const element = list[i];
      if (typeof element !== 'boolean') {
        refuse(`element ${i} of a list of booleans is ${describe(element)}`);
      }
      values[at + 1 + i] = element ? 1 : 0;
      tags[at + 1 + i] = BOOL;
    }
    tags[at] = BOOL_LIST;
  } else if (first instanceof Tensor || first === null || first === undefined) {
    for (let i = 0; i < length; i++) {
      const element = list[i];
      if (element instanceof Tensor) {
        tags[at + 1 + i] = TENSOR;
        values[at + 1 + i] = element.handle;
      } else if (element === null || element === undefined) {
        tags[at + 1 + i] = NULL;
      } else {
        refuse(`element ${i} of a list of tensors is ${describe(element)}`);
      }
    }
    tags[at] = TENSOR_LIST;
  } else {
    refuse(`a list of ${describe(first)} cannot be an argument of a tensor operator`);
  }
  values[at] = length;
  return at + 1 + length;
}

function putOtherNumber(at: number, value: number | bigint): void {
  if (typeof value === 'number') {
    tags[at] = NUMBER;
    values[at] = value;
  } else {
    putOther(at, value);
  }
}

/** A trailing plain object holds keyword arguments. */
function isOptions(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function putOptions(at: number, options: Record<string, unknown>): number {
  let next = at;
  for (const key of Object.keys(options)) {
    const value = options[key];
    if (value === undefined) continue;
    if (next + 2 >= capacity) refuse('too many options');
    tags[next] = KEYWORD;
    values[next] = intern(key);
    next = put(next + 1, value);
  }
  return next;
}

/** Calls operator family `index` with JavaScript arguments, the last of which may be an options object. */
export function invoke(index: number, args: readonly unknown[]): unknown {
  calling = index;
  const used = header[2];
  const length = putAll(args);
  // A getter among the arguments has itself used the exchange: read all of them first, then write.
  if (header[2] !== used) return invoke(index, args.map(plain));
  return run(index, length, args);
}

/** A copy of an array or options object whose elements are values, not getters. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return Array.from(value);
  if (!isOptions(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, option]) => [key, plain(option)]));
}

function putAll(args: readonly unknown[]): number {
  let at = 0;
  const count = args.length;
  if (count > 256) refuse(`${count} arguments are too many for an operator`);
  for (let i = 0; i < count; i++) {
    const value = args[i];
    if (i === count - 1 && isOptions(value)) {
      at = putOptions(at, value);
    } else {
      at = put(at, value);
    }
  }
  return at;
}

/** The shortest ways for the commonest shapes of call. */
export function invoke1(index: number, a: unknown): unknown {
  if (isOptions(a)) return invoke(index, [a]);
  calling = index;
  const used = header[2];
  const length = put(0, a);
  return header[2] === used ? run(index, length, undefined, a) : invoke(index, [a]);
}

export function invoke2(index: number, a: unknown, b: unknown): unknown {
  if (typeof b === 'object' && !(b instanceof Tensor) && isOptions(b)) return invoke(index, [a, b]);
  calling = index;
  const used = header[2];
  const length = put(put(0, a), b);
  return header[2] === used ? run(index, length, undefined, a, b) : invoke(index, [a, b]);
}

function run(
  index: number,
  length: number,
  args: readonly unknown[] | undefined,
  a?: unknown,
  b?: unknown,
): unknown {
  header[0] = index;
  header[1] = length;
  header[2] = header[2]! + 1;
  native.call();
  const count = header[1]!;
  if (count === 1) {
    const tag = tags[0]!;
    if (tag === TENSOR) return wrap(values[0]!);
    if (tag === SAME) return argumentAt(args ?? [a, b], values[0]!);
    place = 0;
    return take(args ?? [a, b]);
  }
  if (count === 0) return undefined;
  const results: unknown[] = new Array(count);
  place = 0;
  for (let i = 0; i < count; i++) results[i] = take(args ?? [a, b]);
  return results;
}

let place = 0;

function take(args: readonly unknown[]): unknown {
  const at = place++;
  switch (tags[at]) {
    case TENSOR:
      return wrapAt(at);
    case NUMBER:
      return values[at]!;
    case BOOL:
      return values[at] !== 0;
    case BIGINT:
      return integers[at]!;
    case NULL:
      return null;
    case SAME:
      return argumentAt(args, values[at]!);
    case STRING:
      return native.takeString(values[at]!);
    case DEVICE:
      return deviceFromCode(Math.floor(values[at]! / 256), (values[at]! % 256) - 1);
    case EMPTY_LIST:
      return [];
    default: {
      const length = values[at]!;
      const list: unknown[] = new Array(length);
      for (let i = 0; i < length; i++) list[i] = take(args);
      return list;
    }
  }
}

function wrapAt(at: number): Tensor {
  return wrap(values[at]!);
}

/** The tensor that was passed at a flat position: what in-place and `out` forms return. */
function argumentAt(args: readonly unknown[], position: number): unknown {
  let at = 0;
  const step = (value: unknown): unknown => {
    if (at === position) return value;
    const list = Array.isArray(value)
      ? value.length
      : ArrayBuffer.isView(value)
        ? (value as Uint8Array).length
        : 0;
    at += 1 + list;
    return undefined;
  };
  for (let i = 0; i < args.length; i++) {
    const value = args[i];
    if (i === args.length - 1 && isOptions(value)) {
      for (const key of Object.keys(value)) {
        if (value[key] === undefined) continue;
        at += 1;
        const found = step(value[key]);
        if (found !== undefined) return found;
      }
    } else {
      const found = step(value);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}
