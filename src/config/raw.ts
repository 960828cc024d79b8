import { ConfigError } from './errors.js';
import { decodeString } from './literal.js';
import type { PyValue } from './pyvalue.js';
import { fromPlain, isPlainObject } from './pyvalue.js';

/** A value about to be merged: what it is, how it was written, and where. */
export class RawLeaf {
  readonly py: PyValue;
  /** The value as written, if it was a string read as a Python literal. */
  readonly text: string | undefined;
  /** Named in errors. */
  readonly origin: string | undefined;

  constructor(py: PyValue, origin?: string, text?: string) {
    this.py = py;
    this.origin = origin;
    this.text = text;
  }
}

/** Values about to be merged, by key. */
export type RawTree = Map<string, RawTree | RawLeaf>;

/** Python value of what code assigns to a key. @throws ConfigError for what no configuration can hold */
export function pyFor(value: unknown, path: string): PyValue {
  try {
    return fromPlain(value);
  } catch (error) {
    throw new ConfigError(`${path}: ${(error as Error).message}`, path);
  }
}

/**
 * Plain objects become trees; their strings are read as Python literals, strings inside arrays are not.
 * @param path full path of the value, for errors
 */
export function rawFromPlain(value: unknown, path: string, origin?: string): RawTree | RawLeaf {
  if (isPlainObject(value)) {
    const below = (key: string) => (path ? `${path}.${key}` : key);
    return new Map(Object.entries(value).map(([key, item]) => [key, rawFromPlain(item, below(key), origin)]));
  }
  if (typeof value === 'string') return new RawLeaf(decodeString(value), origin, value);
  return new RawLeaf(pyFor(value, path), origin);
}

/** A Python dict as a tree, such as the override `INPUT.FLIP "{'ENABLED': True}"`. */
export function rawFromDict(dict: PyValue & { kind: 'dict' }, origin: string | undefined): RawTree {
  return new Map(
    dict.entries.map(([key, item]) => [
      key.kind === 'str' ? key.value : String('value' in key ? key.value : key.kind),
      item.kind === 'dict' ? rawFromDict(item, origin) : new RawLeaf(item, origin),
    ]),
  );
}
