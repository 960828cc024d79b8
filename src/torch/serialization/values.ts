/** Python values that JavaScript has no type of its own for. */

/** Python's tuple: an array that is written back as a tuple. `torch.Size` arrives as one too. */
export class PyTuple extends Array<unknown> {
  /** `new PyTuple(3)` is the tuple `(3,)`, not three holes as with `Array`. */
  constructor(...items: unknown[]) {
    super();
    for (const item of items) this.push(item);
  }

  /** `map`, `filter` and `slice` of a tuple give plain arrays. */
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }
}

/** A number that is a Python float even where it is integral: `pyFloat(1)` is written as `1.0`, `1` as `1`. */
export class PyFloat extends Number {}

/** Marks `value` as a Python float for `save`. */
export function pyFloat(value: number): PyFloat {
  if (typeof value !== 'number') throw new TypeError(`pyFloat: expected a number, got ${typeof value}`);
  return new PyFloat(value);
}

/**
 * Python's `collections.OrderedDict`, the type of a PyTorch state dict. A plain `Map` is written as `dict`, this as
 * `OrderedDict`; PyTorch takes either as a state dict.
 */
export class OrderedDict<K = unknown, V = unknown> extends Map<K, V> {
  /** What Python keeps in the dictionary's `__dict__`: PyTorch's `_metadata` with the version of every module. */
  attributes: Map<string, unknown> | undefined;
}

/**
 * An object of a class which the reader does not know, as data: nothing of it was imported or run. Given only by
 * `load(path, { opaque: true })`.
 */
export class PyOpaque {
  /** The Python name, for instance `argparse.Namespace`. */
  readonly global: string;
  /** The arguments it would have been made with. */
  readonly args: unknown[];
  /** What `__setstate__` or `__dict__` would have received. */
  state: unknown;
  /** What would have been appended to it. */
  readonly items: unknown[] = [];
  /** What would have been set in it by key. */
  readonly entries = new Map<unknown, unknown>();

  constructor(global: string, args: unknown[]) {
    this.global = global;
    this.args = args;
  }
}

/** Something is wrong with a file's content; the message names the file and what to do. */
export class FileFormatError extends Error {
  override readonly name = 'FileFormatError';
}
