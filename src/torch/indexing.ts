import { operator } from './dispatch.js';
import { bool, int64 } from './dtype.js';
import { full, tensor } from './factories.js';
import { Tensor } from './tensor.js';

type Picks = readonly (Tensor | null)[];
// Tensor's own `index` and `slice` are the functions of this file.
const atenIndex = operator<(x: Tensor, picks: Picks) => Tensor>('index');
const atenIndexPut =
  operator<(x: Tensor, picks: Picks, value: Tensor, accumulate: boolean) => Tensor>('index_put_');
const atenSlice =
  operator<(x: Tensor, dim: number, start: number | null, stop: number | null, step: number) => Tensor>(
    'slice',
  );
const atenAlias = operator<(x: Tensor) => Tensor>('alias');

/** Nested lists of integers, or of booleans: they become an index tensor. */
export type IndexList = readonly (number | bigint | boolean | IndexList)[];

/**
 * One item between the brackets of PyTorch's `x[a, b, ...]`: an integer (the dimension goes away), a `Slice`,
 * `null` (a new dimension of size 1), `'...'` (as many whole dimensions as are left), a boolean mask, or
 * integers that pick along a dimension, as a tensor (int64, int32, uint8 or bool) or as a list.
 */
export type IndexItem = number | bigint | boolean | Slice | null | '...' | Tensor | IndexList;

/** What can be assigned to an indexed part: a tensor that broadcasts to it, or one value for all of it. */
export type IndexValue = Tensor | number | bigint | boolean;

/** `start:stop:step` of PyTorch's indexing. Made by `slice()`. */
export class Slice {
  readonly start: number | null;
  readonly stop: number | null;
  readonly step: number;

  constructor(start?: number | bigint | null, stop?: number | bigint | null, step?: number | bigint | null) {
    this.start = bound(start, 'start');
    this.stop = bound(stop, 'stop');
    this.step = bound(step, 'step') ?? 1;
    if (this.step <= 0) {
      throw new RangeError(
        `slice step must be greater than zero, got ${step}${this.step < 0 ? ' (x.flip([dim]) reverses a dimension)' : ''}`,
      );
    }
  }

  toString(): string {
    const side = (value: number | null): string => (value === null ? '' : String(value));
    return `${side(this.start)}:${side(this.stop)}${this.step === 1 ? '' : `:${this.step}`}`;
  }
}

/**
 * A range of a dimension for `x.index(...)`: `slice(2, 5)` is Python's `2:5`, `slice(null, -1)` is `:-1`,
 * `slice(0, null, 2)` is `0::2`. Negative bounds count from the end, bounds beyond the size are cut.
 * @throws RangeError when the step is not positive; TypeError when a bound is no integer.
 */
export function slice(
  start?: number | bigint | null,
  stop?: number | bigint | null,
  step?: number | bigint | null,
): Slice {
  return new Slice(start, stop, step);
}

// Beyond 2^53 every bound means "the end", whatever the size.
function bound(value: number | bigint | null | undefined, what: string): number | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) {
    return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
  }
  throw new TypeError(`slice ${what} must be an integer or null, got ${describe(value)}`);
}

/**
 * `x[items]` as in PyTorch: a view where only integers, slices, `null` and `'...'` are used, else a copy.
 * @throws RangeError for an index out of range or too many indices, TypeError for an item of another type.
 */
export function indexTensor(x: Tensor, items: readonly IndexItem[]): Tensor {
  if (items.length === 1) {
    const [item] = items as [IndexItem];
    if (typeof item === 'number' || typeof item === 'bigint') return select(x, 0, item, 0);
    if (item instanceof Slice) return atenSlice(x, 0, item.start, item.stop, item.step);
    if (item === null) return x.unsqueeze(0);
  }
  const plan = new Plan(x);
  try {
    plan.apply(items);
    if (plan.picks.length > 0) return atenIndex(plan.view, plan.trimmedPicks());
    // x[...] is another tensor on the same memory, never x itself.
    return plan.view === x ? atenAlias(x) : plan.takeView();
  } finally {
    plan.release();
  }
}

/**
 * `x[items] = value` as in PyTorch, in place; with `accumulate`, `x[items] += value`, where repeated indices
 * add up. A number is converted to x's dtype; a tensor broadcasts (leading dimensions of size 1 are dropped).
 */
export function indexPut(
  x: Tensor,
  items: readonly IndexItem[],
  value: IndexValue,
  accumulate = false,
): Tensor {
  if (!(value instanceof Tensor) && !['number', 'bigint', 'boolean'].includes(typeof value)) {
    throw new TypeError(
      `can't assign ${describe(value)} to a tensor: use a number, boolean, bigint or Tensor`,
    );
  }
  const plan = new Plan(x);
  try {
    plan.apply(items);
    if (plan.picks.length === 0) assign(plan, value, accumulate);
    else {
      const source = plan.sized(value instanceof Tensor ? value : plan.scalar(value));
      atenIndexPut(plan.view, plan.trimmedPicks(), source, accumulate);
    }
  } finally {
    plan.release();
  }
  return x;
}

function assign(plan: Plan, value: IndexValue, accumulate: boolean): void {
  const target = plan.view;
  if (accumulate) target.add_(plan.sized(value instanceof Tensor ? value : plan.scalar(value)));
  else if (!(value instanceof Tensor)) target.fill_(value);
  else if (value.dim() === 0 && value.device.type === 'cpu') target.fill_(value);
  else target.copy_(plan.sized(value, target.shape));
}

// Walks over the items: `view` is x with every integer, slice, null and '...' applied; `picks` holds, by
// dimension of `view`, the tensors of advanced indexing. Every tensor made on the way is released at the end.
class Plan {
  view: Tensor;
  readonly picks: (Tensor | null)[] = [];
  private readonly made: Tensor[] = [];
  private readonly x: Tensor;
  // The dimension the next item applies to: in `view`, and in x (which error messages name).
  private dim = 0;
  private source = 0;

  constructor(x: Tensor) {
    this.x = x;
    this.view = x;
  }

  apply(items: readonly IndexItem[]): void {
    const prepared = items.map((item) =>
      Array.isArray(item) ? this.own(listToTensor(item)) : item,
    ) as Item[];
    const rank = this.x.dim();
    const used = prepared.reduce((sum: number, item) => sum + consumes(item), 0);
    if (used > rank) {
      throw new RangeError(
        `too many indices for tensor of dimension ${rank}: ${used} given for shape [${this.x.shape.join(', ')}]`,
      );
    }
    for (const item of prepared) this.step(item, rank - used);
  }

  private step(item: Item, left: number): void {
    if (item === '...') {
      this.skip(left);
      this.source += left;
    } else if (item === null) {
      this.advance(this.view.unsqueeze(this.dim));
      this.skip(1);
    } else if (typeof item === 'boolean') {
      this.pickAll(item);
    } else if (typeof item === 'number' || typeof item === 'bigint') {
      this.advance(select(this.view, this.dim, item, this.source++));
    } else if (item instanceof Slice) {
      this.range(item);
    } else {
      this.pick(item);
    }
  }

  private range({ start, stop, step }: Slice): void {
    const size = this.view.shape[this.dim]!;
    const whole = (start ?? 0) === 0 && step === 1 && (stop === null || stop >= size);
    if (!whole) this.advance(atenSlice(this.view, this.dim, start, stop, step));
    this.skip(1);
    this.source++;
  }

  private pick(index: Tensor): void {
    const type = index.dtype.name;
    const mask = type === 'bool' || type === 'uint8';
    if (index.dim() === 0 && mask) {
      this.pickAll(Boolean(index.item()));
    } else if (index.dim() === 0 && /^u?int/.test(type)) {
      this.advance(select(this.view, this.dim, index.item() as number | bigint, this.source++));
    } else {
      if (!mask && !/^int/.test(type)) {
        throw new TypeError(`tensors used as indices must be long, int, byte or bool tensors, got ${type}`);
      }
      this.record(index, mask ? index.dim() : 1);
      this.source += mask ? index.dim() : 1;
    }
  }

  // A boolean adds a dimension: of size 1 for true, of size 0 for false.
  private pickAll(value: boolean): void {
    this.advance(this.view.unsqueeze(this.dim));
    this.record(this.own(tensor(value ? [0n] : [], { dtype: int64, device: this.x.device })), 1);
  }

  private record(index: Tensor, dims: number): void {
    if (this.picks.length === 0) for (let i = 0; i < this.dim; i++) this.picks.push(null);
    this.picks.push(index);
    this.dim += dims;
  }

  private skip(dims: number): void {
    this.dim += dims;
    // Before the first pick the list is empty: `record` fills it up to the dimension it is at.
    if (this.picks.length > 0) for (let i = 0; i < dims; i++) this.picks.push(null);
  }

  private advance(next: Tensor): void {
    this.view = this.own(next);
  }

  private own(made: Tensor): Tensor {
    this.made.push(made);
    return made;
  }

  trimmedPicks(): (Tensor | null)[] {
    while (this.picks.at(-1) === null) this.picks.pop();
    return this.picks;
  }

  scalar(value: number | bigint | boolean): Tensor {
    return this.own(full([], value, { dtype: this.x.dtype, device: this.x.device }));
  }

  // PyTorch drops leading dimensions of size 1 of an assigned tensor, so that [1, 3] fits a part of shape [3].
  sized(value: Tensor, same?: readonly number[]): Tensor {
    const shape = value.shape;
    if (same && same.length === shape.length && same.every((size, i) => size === shape[i])) return value;
    const first = shape.findIndex((size) => size !== 1);
    const kept = first < 0 ? [] : shape.slice(first);
    return kept.length === shape.length ? value : this.own(value.view(kept));
  }

  takeView(): Tensor {
    this.made.splice(this.made.indexOf(this.view), 1);
    return this.view;
  }

  release(): void {
    for (const made of this.made) made.dispose();
  }
}

type Item = Exclude<IndexItem, IndexList>;

// How many dimensions of the indexed tensor an item takes. The type check of untyped callers is here too.
function consumes(item: unknown): number {
  if (item === null || item === '...' || typeof item === 'boolean') return 0;
  if (item instanceof Tensor)
    return item.dtype.name === 'bool' || item.dtype.name === 'uint8' ? item.dim() : 1;
  if (item instanceof Slice || typeof item === 'bigint' || Number.isInteger(item)) return 1;
  throw new TypeError(
    `only integers, slices (torch.slice(start, stop)), '...', null, booleans, lists and integer or bool tensors are valid indices, got ${describe(item)}`,
  );
}

function select(x: Tensor, dim: number, index: number | bigint, named: number): Tensor {
  const i = Number(index);
  if (!Number.isInteger(i)) consumes(index);
  const size = x.shape[dim];
  if (size === undefined) {
    throw new RangeError('invalid index of a 0-dim tensor: x.item() gives its value');
  }
  if (i >= size || i < -size) {
    throw new RangeError(`index ${index} is out of bounds for dimension ${named} with size ${size}`);
  }
  return x.select(dim, i);
}

function listToTensor(list: IndexList): Tensor {
  const flat: (number | bigint | boolean)[] = [];
  const shape: number[] = [];
  const ragged = 'a list used as an index must have rows of equal length';
  const walk = (rows: readonly unknown[], depth: number): void => {
    if (depth === 64) throw new TypeError('a list used as an index is nested too deeply');
    if (flat.length === 0 && shape.length === depth) shape.push(rows.length);
    if (shape[depth] !== rows.length) throw new TypeError(ragged);
    for (const value of rows) {
      if (Array.isArray(value)) walk(value, depth + 1);
      else if (depth !== shape.length - 1) throw new TypeError(ragged);
      else flat.push(listValue(value, flat[0]));
    }
  };
  walk(list, 0);
  const mask = typeof flat[0] === 'boolean';
  // BigInts: what fits no int64 is refused by `tensor`, not rounded.
  const made = tensor(mask ? flat : flat.map(BigInt), { dtype: mask ? bool : int64 });
  if (shape.length === 1) return made;
  const shaped = made.view(shape);
  made.dispose();
  return shaped;
}

function listValue(value: unknown, first: unknown): number | bigint | boolean {
  const integer = typeof value === 'bigint' || Number.isInteger(value);
  if (
    integer ? typeof first !== 'boolean' : typeof value === 'boolean' && typeof (first ?? value) === 'boolean'
  ) {
    return value as number | bigint | boolean;
  }
  throw new TypeError(
    `a list used as an index must hold integers, or booleans, only: got ${describe(value)}`,
  );
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'number' || typeof value === 'bigint' || value === undefined) return String(value);
  if (typeof value === 'object' && value !== null)
    return `an object of type ${value.constructor?.name ?? 'null'}`;
  return `a ${typeof value}`;
}
