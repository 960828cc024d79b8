/**
 * Writing of Python pickles, in the opcodes of protocol 2 which `torch.load(weights_only=True)` understands.
 *
 * | JavaScript | Python |
 * |---|---|
 * | `Map`, plain object | `dict` (an object's keys are strings) |
 * | `OrderedDict` | `collections.OrderedDict` |
 * | array, `PyTuple`, `Set` | `list`, `tuple`, `set` |
 * | integral number, bigint | `int` |
 * | other number, `PyFloat` | `float` |
 * | string, boolean, `Uint8Array` | `str`, `bool`, `bytes` |
 * | null | `None` |
 * | tensor, dtype, device | as in PyTorch, through `Objects` |
 *
 * A property of a plain object that is undefined is left out, as in JSON.
 */

import { OrderedDict, PyFloat, PyTuple } from './values.js';

/** Writes what the pickler itself does not know. Gives false for values that are not its own. */
export type Objects = (value: object, pickler: Pickler) => boolean;

/** Deeper nesting, or an object inside itself, would exhaust the stack here or in Python. */
export const maxDepth = 500;

const bufferSize = 1 << 14;

export class Pickler {
  readonly #parts: Buffer[] = [];
  #buffer = Buffer.allocUnsafe(bufferSize);
  #length = 0;
  readonly #memo = new Map<unknown, number>();
  readonly #objects: Objects;
  /** Keys on the way to the value being written, for messages. */
  readonly #path: string[] = [];

  constructor(objects: Objects = () => false) {
    this.#objects = objects;
  }

  /** The whole pickle of `value`. */
  dump(value: unknown): Buffer {
    this.raw('\x80\x02');
    this.write(value);
    this.raw('.');
    this.#parts.push(this.#buffer.subarray(0, this.#length));
    return Buffer.concat(this.#parts);
  }

  #reserve(size: number): number {
    if (this.#length + size > this.#buffer.length) {
      this.#parts.push(this.#buffer.subarray(0, this.#length));
      this.#buffer = Buffer.allocUnsafe(Math.max(size, bufferSize));
      this.#length = 0;
    }
    const at = this.#length;
    this.#length += size;
    return at;
  }

  /** Opcodes, and arguments of theirs, one byte a character. */
  raw(code: string): void {
    const at = this.#reserve(code.length);
    this.#buffer.write(code, at, 'latin1');
  }

  #u32(opcode: string, value: number): void {
    this.raw(opcode);
    const at = this.#reserve(4);
    this.#buffer.writeUInt32LE(value, at);
  }

  /** A Python name, as written by GLOBAL. */
  global(module: string, name: string): void {
    this.#shared(`${module}\n${name}`, () => this.raw(`c${module}\n${name}\n`));
  }

  /** Writes through the memo: the second time only a reference. */
  #shared(key: unknown, write: () => void): void {
    if (this.#recall(key)) return;
    write();
    this.#remember(key);
  }

  #recall(key: unknown): boolean {
    const index = this.#memo.get(key);
    if (index === undefined) return false;
    if (index < 256) this.raw(`h${String.fromCharCode(index)}`);
    else this.#u32('j', index);
    return true;
  }

  #remember(key: unknown): void {
    const index = this.#memo.size;
    this.#memo.set(key, index);
    if (index < 256) this.raw(`q${String.fromCharCode(index)}`);
    else this.#u32('r', index);
  }

  write(value: unknown): void {
    switch (typeof value) {
      case 'string':
        // Prefixed, so that it is no global's key.
        this.#shared(`"${value}`, () => {
          const bytes = Buffer.from(value, 'utf8');
          this.#u32('X', bytes.length);
          const at = this.#reserve(bytes.length);
          bytes.copy(this.#buffer, at);
        });
        return;
      case 'number':
        if (Number.isInteger(value) && !Object.is(value, -0)) this.#int(value);
        else this.#float(value);
        return;
      case 'bigint':
        this.#long(value);
        return;
      case 'boolean':
        this.raw(value ? '\x88' : '\x89');
        return;
      case 'object':
        if (value === null) this.raw('N');
        else this.#object(value);
        return;
    }
    throw this.#refuse(typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`);
  }

  #int(value: number): void {
    if (value >= 0 && value < 256) this.raw(`K${String.fromCharCode(value)}`);
    else if (value >= -0x80000000 && value <= 0x7fffffff) {
      this.raw('J');
      const at = this.#reserve(4);
      this.#buffer.writeInt32LE(value, at);
    } else if (Number.isSafeInteger(value)) this.#long(BigInt(value));
    // Beyond 2^53 a number is not an exact count.
    else this.#float(value);
  }

  #float(value: number): void {
    this.raw('G');
    const at = this.#reserve(8);
    this.#buffer.writeDoubleBE(value, at);
  }

  #long(value: bigint): void {
    let size = 1;
    while (BigInt.asIntN(size * 8, value) !== value) size++;
    if (size > 255) throw this.#refuse('an integer of more than 255 bytes');
    const hex = BigInt.asUintN(size * 8, value)
      .toString(16)
      .padStart(size * 2, '0');
    this.raw(`\x8a${String.fromCharCode(size)}${Buffer.from(hex, 'hex').reverse().toString('latin1')}`);
  }

  #object(value: object): void {
    if (this.#path.length > maxDepth)
      throw this.#refuse(`nesting deeper than ${maxDepth}, or an object inside itself,`);
    if (this.#recall(value)) return;
    if (value instanceof PyFloat) this.#float(Number(value));
    else if (value instanceof PyTuple) {
      this.#items(value);
      this.#remember(value);
    } else if (Array.isArray(value)) {
      this.raw(']');
      this.#remember(value);
      if (value.length > 0) {
        this.#items(value, 'e');
      }
    } else if (value instanceof OrderedDict) {
      this.global('collections', 'OrderedDict');
      this.raw(')R');
      this.#remember(value);
      this.#entries(value);
      if (value.attributes) {
        this.write(value.attributes);
        this.raw('b');
      }
    } else if (value instanceof Map) {
      this.raw('}');
      this.#remember(value);
      this.#entries(value);
    } else if (value instanceof Set) {
      this.global('__builtin__', 'set');
      this.raw(']');
      if (value.size > 0) this.#items([...value], 'e');
      this.raw('\x85R');
      this.#remember(value);
    } else if (value instanceof Uint8Array) {
      this.global('_codecs', 'encode');
      this.write(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1'));
      this.write('latin1');
      this.raw('\x86R');
      this.#remember(value);
    } else if (this.#objects(value, this)) this.#remember(value);
    else if (isPlain(value)) {
      this.raw('}');
      this.#remember(value);
      this.#entries(Object.entries(value).filter(([, item]) => item !== undefined));
    } else throw this.#refuse(`a ${value.constructor?.name ?? 'object'}`);
  }

  /** The items between a MARK and the opcode that takes them. */
  #items(items: readonly unknown[], end = 't'): void {
    this.raw('(');
    for (let i = 0; i < items.length; i++) this.#at(`[${i}]`, items[i]);
    this.raw(end);
  }

  #entries(entries: Iterable<[unknown, unknown]>): void {
    this.raw('(');
    for (const [key, value] of entries) {
      const name = typeof key === 'string' ? `.${key}` : `[${String(key)}]`;
      this.#at(name, key);
      this.#at(name, value);
    }
    this.raw('u');
  }

  #at(name: string, value: unknown): void {
    this.#path.push(name);
    this.write(value);
    this.#path.pop();
  }

  #refuse(what: string): TypeError {
    const path = this.#path.length > 20 ? [...this.#path.slice(0, 20), '…'] : this.#path;
    return new TypeError(
      `cannot save ${what} at ${path.join('').replace(/^\./, '') || 'the top'}: what can be saved are tensors, Map, ` +
        'plain objects, arrays, PyTuple, Set, numbers, bigints, strings, booleans, Uint8Array and null',
    );
  }
}

/** An object literal, not an instance of a class. */
export function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
