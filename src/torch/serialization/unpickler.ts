/**
 * Reading of Python pickles as data. All opcodes of protocols 0 to 5 that make plain values are known; names resolve
 * through the allow-list of globals.ts, so a file cannot run anything. The limits bound the memory that a file can
 * claim by its size: a byte can otherwise stand for hundreds.
 *
 * Source: the opcode table in CPython's Lib/pickletools.py.
 */

import type { ByteReader } from './byte-reader.js';
import { build, type Context, type Host, integer, PyGlobal, resolveGlobal } from './globals.js';
import { opcodes } from './opcodes.js';
import { FileFormatError, PyFloat, PyOpaque, PyTuple } from './values.js';

export interface UnpickleOptions {
  /** Unknown names give `PyOpaque` instead of an error. */
  opaque?: boolean;
  /** Integral floats arrive as `PyFloat`, so that saving again keeps them floats. */
  keepFloats?: boolean;
}

/** Values a pickle may make, and dictionaries, lists, sets, objects among them. Checkpoints hold thousands. */
const maxValues = 1 << 24;
const maxContainers = 1 << 21;
/** Python refuses longer decimal numbers too: reading them takes quadratic time. */
const maxDigits = 4300;
const maxLongBytes = 1 << 13;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Stands on the stack where MARK was read. */
const mark = Symbol('mark');

export class Unpickler implements Context {
  readonly host: Host;
  readonly #reader: ByteReader;
  readonly #options: UnpickleOptions;
  readonly #stack: unknown[] = [];
  /** Positions of marks in the stack. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  #values = 0;
  #containers = 0;

  constructor(reader: ByteReader, host: Host, options: UnpickleOptions = {}) {
    this.#reader = reader;
    this.host = host;
    this.#options = options;
  }

  /** Reads one pickle, up to and with its STOP. */
  load(): unknown {
    for (;;) {
      const at = this.#reader.position;
      let opcode = -1;
      try {
        opcode = this.#reader.u8();
        if (opcode === 0x2e) return this.pop(); // STOP
        const action = opcodes[opcode];
        if (!action) throw new FileFormatError('not a pickle opcode');
        action(this, this.#reader);
      } catch (error) {
        if (!(error instanceof Error) || error.message.startsWith('byte ')) throw error;
        const name = opcode < 0 ? '' : ` (opcode 0x${opcode.toString(16).padStart(2, '0')})`;
        throw new FileFormatError(`byte ${at} of the pickle${name}: ${error.message}`, { cause: error });
      }
    }
  }

  charge(values: number): void {
    this.#values += values;
    if (this.#values > maxValues) throw new FileFormatError(`more than ${maxValues} values`);
  }

  push(value: unknown): void {
    this.#stack.push(value);
    if (++this.#values > maxValues) throw new FileFormatError(`more than ${maxValues} values`);
  }

  /** Pushes an object that takes memory of its own. */
  pushNew(value: unknown): void {
    if (++this.#containers > maxContainers)
      throw new FileFormatError(`more than ${maxContainers} containers`);
    this.push(value);
  }

  pop(): unknown {
    const floor = this.#marks.at(-1) ?? -1;
    if (this.#stack.length <= floor + 1) throw new FileFormatError('nothing to take from the stack');
    return this.#stack.pop();
  }

  top(): unknown {
    const floor = this.#marks.at(-1) ?? -1;
    if (this.#stack.length <= floor + 1) throw new FileFormatError('the stack is empty');
    return this.#stack[this.#stack.length - 1];
  }

  /** Takes the last `count` values, in the order in which they were pushed. */
  popSome(count: number): unknown[] {
    const items: unknown[] = [];
    for (let i = 0; i < count; i++) items.unshift(this.pop());
    return items;
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
    this.push(mark);
  }

  /** Drops the last value, or the mark if that is last. */
  discard(): void {
    if (this.#marks.at(-1) === this.#stack.length - 1) this.popMark();
    else this.pop();
  }

  get memoSize(): number {
    return this.#memo.size;
  }

  /** Everything after the last mark, which goes with it. */
  popMark(): unknown[] {
    const at = this.#marks.pop();
    if (at === undefined) throw new FileFormatError('an end without a beginning');
    const items = this.#stack.splice(at + 1);
    this.#stack.pop();
    return items;
  }

  tuple(items: readonly unknown[]): void {
    const tuple = new PyTuple();
    for (const item of items) tuple.push(item);
    this.pushNew(tuple);
  }

  float(value: number): void {
    const keep = this.#options.keepFloats === true && Number.isInteger(value) && !Object.is(value, -0);
    this.push(keep ? new PyFloat(value) : value);
  }

  /** A Python 2 string: text where it is UTF-8, otherwise bytes. */
  oldString(bytes: Uint8Array): void {
    let value: unknown;
    try {
      value = utf8.decode(bytes);
    } catch {
      value = Uint8Array.from(bytes);
    }
    this.push(value);
  }

  long(bytes: Buffer): void {
    if (bytes.length > maxLongBytes) throw new FileFormatError(`an integer of ${bytes.length} bytes`);
    const hex = Buffer.from(bytes).reverse().toString('hex');
    this.push(integer(BigInt.asIntN(bytes.length * 8, BigInt(`0x0${hex}`))));
  }

  decimal(text: string): number | bigint {
    if (!/^[+-]?\d+$/.test(text) || text.length > maxDigits) throw new FileFormatError('a malformed integer');
    return integer(BigInt(text.replace(/^\+/, '')));
  }

  decimalFloat(text: string): number {
    const special = /^([+-]?)(inf(?:inity)?|nan)$/i.exec(text);
    if (special) {
      const value = /^n/i.test(special[2] ?? '') ? Number.NaN : Number.POSITIVE_INFINITY;
      return special[1] === '-' ? -value : value;
    }
    if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new FileFormatError('a malformed float');
    return Number(text);
  }

  remember(index: number): void {
    this.#memo.set(index, this.top());
  }

  recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined && !this.#memo.has(index)) {
      throw new FileFormatError(`refers to value ${index}, which the file has not made`);
    }
    this.push(value);
  }

  global(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string')
      throw new FileFormatError('a name that is not text');
    this.pushNew(resolveGlobal(module, name, this.host, this.#options.opaque === true));
  }

  call(): void {
    const args = this.pop();
    const target = this.pop();
    this.invoke(target, args);
  }

  invoke(target: unknown, args: unknown): void {
    if (!(target instanceof PyGlobal))
      throw new FileFormatError('a call of something that is not a known name');
    if (!Array.isArray(args))
      throw new FileFormatError(`${target.name} is called without a tuple of arguments`);
    this.pushNew(target.call(args, this));
  }

  persistent(id: unknown): void {
    if (!Array.isArray(id)) throw new FileFormatError('a persistent id that is not a tuple');
    this.pushNew(this.host.storage(id));
  }

  append(items: readonly unknown[]): void {
    const target = this.top();
    if (target instanceof PyOpaque) for (const item of items) target.items.push(item);
    else if (Array.isArray(target) && !(target instanceof PyTuple))
      for (const item of items) target.push(item);
    else throw new FileFormatError('items are appended to something that is not a list');
  }

  setItems(items: readonly unknown[]): void {
    const target = this.top();
    const map = target instanceof PyOpaque ? target.entries : target;
    if (!(map instanceof Map))
      throw new FileFormatError('items are set in something that is not a dictionary');
    if (items.length % 2) throw new FileFormatError('a key without a value');
    for (let i = 0; i < items.length; i += 2) map.set(plainKey(items[i]), items[i + 1]);
  }

  addItems(items: readonly unknown[]): void {
    const target = this.top();
    if (!(target instanceof Set))
      throw new FileFormatError('members are added to something that is not a set');
    for (const item of items) target.add(plainKey(item));
  }

  build(): void {
    const state = this.pop();
    build(this.top(), state);
  }
}

/** Python's 1.0 and 1 are one key; so are they here, whatever `keepFloats` says. */
function plainKey(key: unknown): unknown {
  return key instanceof PyFloat ? Number(key) : key;
}
