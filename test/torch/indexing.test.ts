import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as torch from '../../src/torch/index.js';
import type { IndexItem, IndexList } from '../../src/torch/indexing.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from './python_json.js';

// Index items as data that both languages understand.
type Item =
  | { int: number }
  | { slice: [number | null, number | null, number | null] }
  | { none: true }
  | { dots: true }
  | { bool: boolean }
  | { list: IndexList }
  | { tensor: IndexList; dtype: 'int64' | 'int32' | 'uint8' | 'bool' };

const { int64, int32, uint8, bool } = torch;
const dtypes = { int64, int32, uint8, bool };

function toItem(item: Item): IndexItem {
  if ('int' in item) return item.int;
  if ('slice' in item) return torch.slice(...item.slice);
  if ('none' in item) return null;
  if ('dots' in item) return '...';
  if ('bool' in item) return item.bool;
  if ('list' in item) return item.list;
  const data = item.tensor as unknown as number[];
  return torch.tensor(data, { dtype: dtypes[item.dtype] });
}

const PYTHON = `
import json, sys, torch
def item(i):
    if 'int' in i: return i['int']
    if 'slice' in i: return slice(*i['slice'])
    if 'none' in i: return None
    if 'dots' in i: return ...
    if 'bool' in i: return i['bool']
    if 'list' in i:
        return torch.tensor(i['list'], dtype=None if i['list'] else torch.int64)
    return torch.tensor(i['tensor'], dtype=getattr(torch, i['dtype']))
out = []
for c in json.load(sys.stdin):
    n = 1
    for s in c['shape']: n *= s
    x = torch.arange(n).view(c['shape'])
    index = tuple(item(i) for i in c['items'])
    try:
        y = x[index]
        r = {'shape': list(y.shape), 'data': y.flatten().tolist(), 'view': y._base is not None}
    except (IndexError, ValueError, RuntimeError, TypeError) as e:
        r = {'error': str(e)}
    for key, value in (('put', -7), ('tensor', torch.arange(100, 104))):
        x = torch.arange(n).view(c['shape'])
        try:
            x[index] = value
            r[key] = x.flatten().tolist()
        except (IndexError, ValueError, RuntimeError, TypeError) as e:
            r[key] = 'error'
    out.append(r)
json.dump(out, sys.stdout)
`;

interface Expected {
  shape?: number[];
  data?: number[];
  view?: boolean;
  error?: string;
  put: number[] | 'error';
  tensor: number[] | 'error';
}

const small = fc.integer({ min: -4, max: 4 });
const edge = fc.option(fc.integer({ min: -6, max: 6 }), { nil: null });
const itemArbitrary: fc.Arbitrary<Item> = fc.oneof(
  { weight: 3, arbitrary: small.map((int) => ({ int })) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(edge, edge, fc.option(fc.integer({ min: 1, max: 3 }), { nil: null }))
      .map((slice) => ({ slice })),
  },
  { weight: 1, arbitrary: fc.constant<Item>({ none: true }) },
  { weight: 2, arbitrary: fc.constant<Item>({ dots: true }) },
  { weight: 1, arbitrary: fc.boolean().map((bool) => ({ bool })) },
  { weight: 2, arbitrary: fc.array(small, { maxLength: 3 }).map((list) => ({ list })) },
  { weight: 1, arbitrary: fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }).map((list) => ({ list })) },
  {
    weight: 1,
    arbitrary: fc.tuple(small, small, small, small).map(([a, b, c, d]) => ({
      list: [
        [a, b],
        [c, d],
      ],
    })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.array(small, { maxLength: 3 }), fc.constantFrom('int64' as const, 'int32' as const))
      .map(([tensor, dtype]) => ({ tensor, dtype })),
  },
  {
    weight: 1,
    arbitrary: small.map((tensor) => ({ tensor: tensor as unknown as IndexList, dtype: 'int64' as const })),
  },
  {
    weight: 1,
    arbitrary: fc
      .array(fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), { minLength: 2, maxLength: 2 })
      .map((tensor) => ({ tensor, dtype: 'bool' as const })),
  },
);
const shapeArbitrary = fc.oneof(
  fc.constantFrom<number[]>([2, 3], [2, 3, 4], [4, 2, 3], [3]),
  fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
);

test('gives what Python gives, for reading and for assignment', {
  skip: pythonTorch() ? false : pythonTorchMissing,
}, () => {
  const cases = fc.sample(
    fc.record({ shape: shapeArbitrary, items: fc.array(itemArbitrary, { maxLength: 4 }) }),
    { numRuns: 1500, seed: 11 },
  );
  const expected = runPython<Expected[]>(PYTHON, cases);
  let worked = 0;
  for (const [i, { shape, items }] of cases.entries()) {
    const want = expected[i]!;
    torch.scope(() => {
      const what = JSON.stringify({ shape, items });
      const base = torch.arange(shape.reduce((a, b) => a * b, 1)).view(shape);
      const x = base.clone();
      if (want.error !== undefined) {
        assert.throws(() => x.index(...items.map(toItem)), Error, `${what}: ${want.error}`);
      } else {
        const y = x.index(...items.map(toItem));
        assert.deepEqual(y.shape, want.shape, what);
        assert.deepEqual(Array.from(y.toTypedArray(), Number), want.data, what);
        worked++;
        if (y.numel() > 0) {
          // A view shares its memory: what is written to it shows in x.
          y.fill_(-1);
          assert.equal(x.toArray().toString().includes('-1'), want.view, what);
        }
      }
      for (const [value, result] of [
        [-7, want.put],
        [torch.arange(100, 104), want.tensor],
      ] as const) {
        const z = base.clone();
        if (result === 'error') assert.throws(() => z.indexPut_(items.map(toItem), value), Error, what);
        else
          assert.deepEqual(
            Array.from(z.indexPut_(items.map(toItem), value).toTypedArray(), Number),
            result,
            what,
          );
      }
    });
  }
  assert.ok(worked > 500, `only ${worked} of the cases were valid`);
});

type Nested = number | Nested[];

// The meaning of the items that give views, on nested arrays.
function naive(x: Nested, rank: number, items: readonly Item[]): Nested {
  const [item, ...rest] = items;
  if (item === undefined) return x;
  if ('none' in item) return [naive(x, rank, rest)];
  if ('dots' in item) {
    const left = rank - rest.filter((r) => 'int' in r || 'slice' in r).length;
    if (left === 0) return naive(x, rank, rest);
    return (x as Nested[]).map((row) => naive(row, rank - 1, left === 1 ? rest : items));
  }
  const rows = x as Nested[];
  if ('int' in item) return naive(rows.at(item.int)!, rank - 1, rest);
  const [start, stop, step] = (item as { slice: [number | null, number | null, number | null] }).slice;
  return rows
    .slice(start ?? 0, stop ?? rows.length)
    .filter((_, i) => i % (step ?? 1) === 0)
    .map((row) => naive(row, rank - 1, rest));
}

test('integers, slices, null and dots do what they do to nested arrays', () => {
  const shape = [3, 4, 2, 3];
  const base = torch.arange(72).view(shape);
  const array = base.toArray() as Nested;
  const view = fc.oneof(
    fc.integer({ min: -2, max: 1 }).map((int): Item => ({ int })),
    fc.tuple(edge, edge, fc.constantFrom(null, 1, 2, 3)).map((slice): Item => ({ slice })),
    fc.constant<Item>({ none: true }),
  );
  const list = fc.tuple(fc.array(view, { maxLength: 3 }), fc.boolean(), fc.array(view, { maxLength: 1 }));
  fc.assert(
    fc.property(list, ([before, dots, after]) => {
      const items: Item[] = dots ? [...before, { dots: true }, ...after] : [...before, ...after];
      const y = torch.scope(() => base.index(...items.map(toItem)).toArray());
      assert.deepEqual(y, naive(array, 4, items));
    }),
    { numRuns: 400 },
  );
});

test('errors name the index, the dimension and its size', () => {
  const x = torch.arange(24).view([2, 3, 4]);
  assert.throws(() => x.index(5), new RangeError('index 5 is out of bounds for dimension 0 with size 2'));
  assert.throws(
    () => x.index('...', 9),
    new RangeError('index 9 is out of bounds for dimension 2 with size 4'),
  );
  assert.throws(
    () => x.index(0, -4),
    new RangeError('index -4 is out of bounds for dimension 1 with size 3'),
  );
  assert.throws(() => x.index(2n ** 70n), RangeError);
  assert.throws(
    () => x.index(0, 0, 0, 0),
    /too many indices for tensor of dimension 3: 4 given for shape \[2, 3, 4\]/,
  );
  assert.throws(() => x.index(0, 0, 0).index(0), /invalid index of a 0-dim tensor/);
  assert.throws(() => x.index(1.5), TypeError);
  assert.throws(() => x.index(Number.NaN), TypeError);
  assert.throws(() => x.index('abc' as '...'), /are valid indices, got "abc"/);
  assert.throws(() => x.index(undefined as never), /valid indices, got undefined/);
  assert.throws(() => x.index({} as never), /got an object of type Object/);
  assert.throws(() => x.index([0.5]), /must hold integers, or booleans, only: got 0.5/);
  assert.throws(() => x.index([true, 1]), /must hold integers, or booleans, only: got 1/);
  assert.throws(() => x.index([[0, 1], [0]]), /rows of equal length/);
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  assert.throws(() => x.index(cyclic as never), /nested too deeply/);
  assert.throws(() => x.index(torch.tensor([0.5])), /must be long, int, byte or bool/);
  assert.throws(() => x.index([5]), /index 5 is out of bounds for dimension 0 with size 2/);
  assert.throws(() => torch.slice(0, 4, -1), /step must be greater than zero, got -1/);
  assert.throws(() => torch.slice(0, 4, 0), RangeError);
  assert.throws(() => torch.slice(0.5), /slice start must be an integer or null, got 0.5/);
  assert.throws(() => x.indexPut_([0], 'a' as never), /can't assign "a" to a tensor/);
  assert.throws(() => x.indexPut_([0], torch.zeros([7])), Error);
});

test('slices read as in Python', () => {
  const x = torch.arange(6);
  assert.deepEqual(x.index(torch.slice(2)).toArray(), [2, 3, 4, 5]);
  assert.deepEqual(x.index(torch.slice(null, -1, 2)).toArray(), [0, 2, 4]);
  assert.deepEqual(x.index(torch.slice(-100, 10n ** 30n)).toArray(), [0, 1, 2, 3, 4, 5]);
  assert.equal(String(torch.slice(1, null, 2)), '1::2');
});

test('the whole tensor comes as another tensor on the same memory', () => {
  const x = torch.zeros([2]);
  for (const y of [x.index('...'), x.index(), x.index(torch.slice())]) {
    assert.notEqual(y, x);
    y.add_(1);
  }
  assert.deepEqual(x.toArray(), [3, 3]);
});

test('assignment converts numbers, broadcasts tensors, accumulates', () => {
  const x = torch.zeros([2, 3], { dtype: torch.int64 });
  assert.equal(x.indexPut_([0], 1.5), x);
  x.indexPut_([1, torch.slice(1)], torch.ones([1, 1, 2]));
  assert.deepEqual(x.toArray(), [
    [1, 1, 1],
    [0, 1, 1],
  ]);
  x.indexPut_([[0, 0, 1], 0], 2, true);
  assert.deepEqual(x.toArray(), [
    [5, 1, 1],
    [2, 1, 1],
  ]);
  x.indexPut_([0], torch.tensor([1n, 2n, 3n]), true);
  assert.deepEqual(x.toArray(), [
    [6, 3, 4],
    [2, 1, 1],
  ]);
  x.indexPut_([x.gt(3)], 0);
  assert.deepEqual(x.toArray(), [
    [0, 3, 0],
    [2, 1, 1],
  ]);
  x.indexPut_([0, 0], 2n ** 62n);
  assert.equal(x.index(0, 0).item(), 2n ** 62n);
  x.indexPut_([false], 9);
  x.indexPut_(['...'], true);
  assert.deepEqual(x.toArray(), [
    [1, 1, 1],
    [1, 1, 1],
  ]);
});

test('gradients pass through indexing', () => {
  const x = torch.ones([3, 2], { requiresGrad: true });
  x.index([0, 2, 0], torch.slice(0, 1)).sum().backward();
  assert.deepEqual(x.grad?.toArray(), [
    [2, 0],
    [0, 0],
    [1, 0],
  ]);
  const y = torch.ones([3]).mul(2);
  const z = torch.tensor([5], { requiresGrad: true });
  y.indexPut_([torch.slice(1, 2)], z);
  y.mul(torch.tensor([1, 10, 100]))
    .sum()
    .backward();
  assert.deepEqual(z.grad?.toArray(), [10]);
});

test('tensors made on the way are released', () => {
  const x = torch.arange(24).view([2, 3, 4]);
  const before = torch.memoryStats().liveTensors;
  x.index(null, 0, [0, 1], '...', true).dispose();
  x.indexPut_([0, [0, 1], torch.slice(1, 3)], 4);
  assert.throws(() => x.index(0, [0, 1], 9));
  assert.ok(torch.memoryStats().liveTensors <= before);
});
