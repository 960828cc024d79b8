/**
 * Python values as configuration files carry them. JavaScript has one number type and one sequence type where
 * Python's files tell `1` from `1.0` and `(1,)` from `[1]`, so values keep their Python kind beside them.
 */
export type PyValue =
  | { readonly kind: 'none' }
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'str'; readonly value: string }
  | { readonly kind: 'list' | 'tuple'; readonly items: readonly PyValue[] }
  | { readonly kind: 'dict'; readonly entries: readonly (readonly [PyValue, PyValue])[] };

export type PyKind = PyValue['kind'];

export const NONE: PyValue = { kind: 'none' };

/** Marks a number as a Python float though it is integral: the default `1.` of `SOLVER.HEADS_LR_FACTOR`. */
export class PyFloat {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** Marks a sequence as a Python tuple: the default `("Market1501",)` of `DATASETS.NAMES`. */
export class PyTupleOf<T> {
  readonly items: readonly T[];
  constructor(items: readonly T[]) {
    this.items = items;
  }
}

/** A float default that happens to be integral. Used when defining keys. */
export const float = (value: number): PyFloat => new PyFloat(value);

/** A tuple default. Used when defining keys. */
export const tuple = <T>(...items: T[]): PyTupleOf<T> => new PyTupleOf(items);

/**
 * Python value of a JavaScript one: integral numbers are ints, others floats, arrays lists, `null` None.
 * @throws TypeError for what no configuration can hold (functions, undefined, class instances, huge bigints).
 */
export function fromPlain(value: unknown): PyValue {
  if (value === null) return NONE;
  if (typeof value === 'boolean') return { kind: 'bool', value };
  if (typeof value === 'string') return { kind: 'str', value };
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) && !Object.is(value, -0)
      ? { kind: 'int', value }
      : { kind: 'float', value };
  }
  if (typeof value === 'bigint' && Number.isSafeInteger(Number(value))) {
    return { kind: 'int', value: Number(value) };
  }
  if (value instanceof PyFloat) return { kind: 'float', value: value.value };
  if (value instanceof PyTupleOf) return { kind: 'tuple', items: value.items.map(fromPlain) };
  if (Array.isArray(value)) return { kind: 'list', items: value.map(fromPlain) };
  if (isPlainObject(value)) {
    const entries = Object.entries(value).map(
      ([key, item]) => [{ kind: 'str', value: key }, fromPlain(item)] as const,
    );
    return { kind: 'dict', entries };
  }
  throw new TypeError(`a configuration cannot hold ${describeForeign(value)}`);
}

/** JavaScript value of a Python one: lists and tuples become frozen arrays, dicts frozen objects, None `null`. */
export function toPlain(value: PyValue): unknown {
  switch (value.kind) {
    case 'none':
      return null;
    case 'list':
    case 'tuple':
      return Object.freeze(value.items.map(toPlain));
    case 'dict': {
      // defineProperty by way of fromEntries: a key named __proto__ stays an ordinary key.
      const pairs = value.entries.map(([key, item]) => [dictKey(key), toPlain(item)] as const);
      return Object.freeze(Object.fromEntries(pairs));
    }
    default:
      return value.value;
  }
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const proto: unknown = Object.getPrototypeOf(value);
  return proto === Object.prototype || proto === null;
}

function dictKey(key: PyValue): string {
  return key.kind === 'str' ? key.value : repr(key);
}

function describeForeign(value: unknown): string {
  if (typeof value === 'object' && value !== null)
    return `an instance of ${value.constructor?.name ?? 'Object'}`;
  return typeof value === 'bigint' ? 'an integer beyond 2^53' : `a value of type ${typeof value}`;
}

/** Same kind and same contents; NaN equals itself. */
export function samePy(a: PyValue, b: PyValue): boolean {
  if (a.kind !== b.kind) return false;
  if ('items' in a && 'items' in b) {
    return a.items.length === b.items.length && a.items.every((item, i) => samePy(item, b.items[i]));
  }
  if ('entries' in a && 'entries' in b) {
    return (
      a.entries.length === b.entries.length &&
      a.entries.every(([k, v], i) => samePy(k, b.entries[i][0]) && samePy(v, b.entries[i][1]))
    );
  }
  return 'value' in a && 'value' in b ? Object.is(a.value, b.value) : true;
}

/** A float so that PyYAML, too, reads a float: always with a point, the exponent signed (`1.0e-7`). */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return '.nan';
  if (!Number.isFinite(value)) return value > 0 ? '.inf' : '-.inf';
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  const [mantissa, exponent] = text.split('e');
  const pointed = mantissa.includes('.') ? mantissa : `${mantissa}.0`;
  return exponent === undefined ? pointed : `${pointed}e${exponent}`;
}

/** A Python string literal in double quotes, ASCII only. */
export function strRepr(value: string): string {
  let out = '"';
  for (const char of value) {
    const code = char.codePointAt(0) as number;
    if (char === '"' || char === '\\') out += `\\${char}`;
    else if (char === '\n') out += '\\n';
    else if (char === '\t') out += '\\t';
    else if (char === '\r') out += '\\r';
    else if (code >= 0x20 && code < 0x7f) out += char;
    else if (code <= 0xff) out += `\\x${code.toString(16).padStart(2, '0')}`;
    else if (code <= 0xffff) out += `\\u${code.toString(16).padStart(4, '0')}`;
    else out += `\\U${code.toString(16).padStart(8, '0')}`;
  }
  return `${out}"`;
}

/** Python source text of a value. NaN has no literal in Python and is written `nan`. */
export function repr(value: PyValue): string {
  switch (value.kind) {
    case 'none':
      return 'None';
    case 'bool':
      return value.value ? 'True' : 'False';
    case 'int':
      return String(value.value);
    case 'float':
      if (Number.isNaN(value.value)) return 'nan';
      if (!Number.isFinite(value.value)) return value.value > 0 ? '1e999' : '-1e999';
      return floatText(value.value);
    case 'str':
      return strRepr(value.value);
    case 'list':
      return `[${value.items.map(repr).join(', ')}]`;
    case 'tuple':
      return value.items.length === 1
        ? `(${repr(value.items[0])},)`
        : `(${value.items.map(repr).join(', ')})`;
    case 'dict':
      return `{${value.entries.map(([k, v]) => `${repr(k)}: ${repr(v)}`).join(', ')}}`;
  }
}
