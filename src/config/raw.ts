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

/** Plain objects become trees; their strings are read as Python literals, strings inside arrays are not. */
export function rawFromPlain(value: unknown, origin?: string): RawTree | RawLeaf {
  if (isPlainObject(value)) {
    return new Map(Object.entries(value).map(([key, item]) => [key, rawFromPlain(item, origin)]));
  }
  if (typeof value === 'string') return new RawLeaf(decodeString(value), origin, value);
  return new RawLeaf(fromPlain(value), origin);
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
