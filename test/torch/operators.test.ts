import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { native } from '../../src/torch/native.js';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../support/paths.js';
import { runPython } from '../support/python.js';

torch.setNumThreads(1);

const surface: Record<string, unknown> = { ...torch };

// What a test must say that the types forbid.
type Loose = (...args: unknown[]) => torch.Tensor;
const loose = (name: string): Loose => surface[name] as Loose;
const list = (tensor: torch.Tensor) => Array.from(tensor.toTypedArray() as ArrayLike<number>);

describe('calls', () => {
  const x = torch.tensor([
    [1, 2],
    [3, 4],
  ]);
  const y = torch.tensor([
    [10, 20],
    [30, 40],
  ]);

  test('as functions and as methods, positional and by keyword', () => {
    assert.deepEqual(x.add(y).toArray(), torch.add(x, y).toArray());
    assert.deepEqual(list(x.add(y, { alpha: 2 })), [21, 42, 63, 84]);
    assert.deepEqual(list(loose('add')(x, { other: y, alpha: 2 })), [21, 42, 63, 84]);
    assert.deepEqual(list(loose('add')({ alpha: 2, other: y, self: x })), [21, 42, 63, 84]);
    assert.deepEqual(x.sum([1], true).shape, [2, 1]);
    assert.deepEqual(x.sum([1], { keepdim: true }).shape, [2, 1]);
    assert.deepEqual(x.sum([1], { keepdim: undefined }).shape, [2]);
    assert.equal(x.sum([1], { dtype: torch.float64 }).dtype, torch.float64);
    assert.deepEqual(list(x.clamp(null, 3)), [1, 2, 3, 3]);
    assert.deepEqual(list(x.clamp(undefined, 3)), [1, 2, 3, 3]);
    assert.deepEqual(list(x.clamp(2)), [2, 2, 3, 4]);
    assert.deepEqual(list(loose('relu')(x, undefined)), [1, 2, 3, 4]);
    assert.deepEqual(list(loose('clamp')(x, 2, undefined, undefined, undefined)), [2, 2, 3, 4]);
    assert.equal(x.sum([], false).dim(), 0);
    const bare = Object.assign(Object.create(null) as object, { alpha: 3 });
    assert.deepEqual(list(loose('add')(x, y, bare)), [31, 62, 93, 124]);
  });

  test('the overload follows the types', () => {
    const [values, indices] = x.max(1) as unknown as torch.Tensor[];
    assert.deepEqual(
      [list(values!), indices!.toArray()],
      [
        [2, 4],
        [1, 1],
      ],
    );
    assert.equal(x.max().item(), 4);
    assert.deepEqual(list(torch.max(x, y)), [10, 20, 30, 40]);
    assert.deepEqual(
      x.split(1, 1).map((t) => t.shape),
      [
        [2, 1],
        [2, 1],
      ],
    );
    assert.deepEqual(
      x.split([1, 1], 0).map((t) => t.shape),
      [
        [1, 2],
        [1, 2],
      ],
    );
    assert.deepEqual(list(torch.pow(2, x)), [2, 4, 8, 16]);
    assert.deepEqual(list(torch.where(x.gt(2), x, 0)), [0, 0, 3, 4]);
    assert.equal(x.equal(x.clone()), true);
    assert.equal(x.is_floating_point(), true);
    assert.equal(x.size(0), 2);
  });

  test('in-place forms return this object; out= forms the object given', () => {
    const z = x.clone();
    assert.equal(z.add_(1), z);
    assert.equal(loose('add_')({ self: z, other: y }), z);
    const out = torch.empty([2, 2]);
    assert.equal(torch.add(x, y, { out }), out);
    assert.deepEqual(list(out), [11, 22, 33, 44]);
    assert.equal(loose('add')(x, y, { alpha: 2, out }), out);
    const values = torch.empty([2]);
    const indices = torch.empty([2], { dtype: torch.int64 });
    const both = loose('max')(x, 1, { max: values, max_values: indices }) as unknown as torch.Tensor[];
    assert.equal(both[0], values);
    assert.equal(both[1], indices);
    assert.deepEqual(indices.toArray(), [1, 1]);
    const sums = torch.empty([2]);
    assert.equal(loose('sum')(x, [0], { out: sums, keepdim: false, dtype: undefined }), sums);
    assert.equal(loose('cat')([x, y], { dim: 0, out: torch.empty([4, 2]) }).numel(), 8);
    const long = torch.empty([4, 2]);
    assert.equal(loose('cat')([x, y], 0, { out: long }), long, 'lists take several places');
  });

  test('a lone number stands for int[2], and one element too', () => {
    const image = torch.ones([1, 1, 5, 5]);
    const weight = torch.ones([1, 1, 3, 3]);
    const shapes = [1, [1], [1, 1], 1n].map(
      (padding) => loose('conv2d')(image, weight, null, 1, padding).shape,
    );
    for (const shape of shapes) assert.deepEqual(shape, [1, 1, 5, 5]);
    assert.deepEqual(image.sum(1).shape, [1, 5, 5]);
    assert.throws(() => loose('view')(image, 25), /Candidates/);
    assert.deepEqual(image.view(new Int32Array([5, 5]) as unknown as number[]).shape, [5, 5]);
    assert.deepEqual(image.view([5n, 5] as unknown as number[]).shape, [5, 5]);
  });

  test('optional and null lists', () => {
    const images = torch.ones([1, 1, 2, 2]);
    assert.deepEqual(loose('upsample_nearest2d')(images, [4, 4], null).shape, [1, 1, 4, 4]);
    assert.deepEqual(loose('upsample_nearest2d')(images, null, [2, 2]).shape, [1, 1, 4, 4]);
    assert.deepEqual(loose('upsample_nearest2d')(images, null, [2n, 2n]).shape, [1, 1, 4, 4]);
    const picked = loose('index')(x, [null, torch.tensor([1n])]);
    assert.deepEqual(list(picked), [2, 4]);
    assert.deepEqual(torch.ones([1]).view([]).shape, [], 'an empty list is a shape');
  });

  test('bigint arguments', () => {
    assert.deepEqual(list(x.add(1n)), [2, 3, 4, 5]);
    assert.equal(
      torch
        .tensor([1n])
        .add(2n ** 62n)
        .item(),
      2n ** 62n + 1n,
    );
    assert.deepEqual(list(x.select(0, 1n)), [3, 4]);
    assert.throws(() => x.add(2n ** 63n), /64 bits/);
  });

  test('getters among the arguments may call operators themselves', () => {
    const options = {
      get alpha(): number {
        return Number(y.mul(0).add(2).sum().item());
      },
    };
    assert.deepEqual(list(x.add(y, options)), [81, 162, 243, 324]);
    const size = [4];
    Object.defineProperty(size, 0, { get: () => x.numel() });
    assert.deepEqual(x.view(size).shape, [4]);
    const pair: torch.Tensor[] = [x, y];
    Object.defineProperty(pair, 1, { get: () => y.neg() });
    assert.deepEqual(list(torch.cat(pair, 0)), [1, 2, 3, 4, -10, -20, -30, -40]);
    const out = torch.empty([2, 2]);
    const late = {
      get out(): torch.Tensor {
        return out.zero_();
      },
    };
    assert.equal(loose('add')(x, y, late), out);
    assert.deepEqual(list(out), [11, 22, 33, 44]);
    const shape = new Proxy([2, 2], { get: (t, k) => x.dim() > 0 && Reflect.get(t, k) });
    assert.deepEqual(x.view(shape).shape, [2, 2]);
  });
});

describe('errors', () => {
  const x = torch.ones([2, 3]);

  test('no overload fits: what was given, and the candidates', () => {
    assert.throws(
      () => loose('conv2d')(x, 'weight', [1]),
      (error: Error) =>
        error instanceof TypeError &&
        error.message.startsWith('aten::conv2d: no overload accepts (Float Tensor, ') &&
        error.message.includes("string 'weight', number[])") &&
        error.message.includes('aten::conv2d.padding(Tensor input, Tensor weight') &&
        error.message.includes('aten::conv2d(Tensor input, Tensor weight'),
    );
    const cases: [() => unknown, RegExp][] = [
      [() => loose('relu')(), /aten::relu: no overload accepts \(\)/],
      [() => loose('relu')(x, x), /aten::relu: no overload accepts \(Float Tensor, Float Tensor\)/],
      [() => loose('relu')(x, { unknown: 1 }), /unknown=number 1/],
      [() => loose('relu')(null), /null/],
      [() => loose('relu')(undefined), /relu/],
      [() => loose('sum')(x, [1], { dim: [0] }), /no overload accepts/],
      [() => loose('sum')(x, 1.5), /number 1\.5/],
      [() => loose('view')(x, [1.5]), /view/],
      [() => loose('select')(x, 'a', 0), /string 'a'/],
      [() => loose('zeros')([2], { dtype: 'float32' }), /zeros/],
      [() => loose('add')(x, new Date()), /an object \(Date\)/],
      [() => loose('add')(x, [[1]]), /a list of an object/],
      [() => loose('cat')([x, 1]), /element 1 of a list of tensors is a number/],
      [() => loose('view')(x, [1, 'a']), /element 1 of a list of numbers is a string/],
      [() => loose('add')(x, () => 1), /a function/],
      [() => loose('view')(x, Array(70000).fill(1)), /too long/],
      [() => loose('cat')(Array(70000).fill(x)), /too long/],
      [() => loose('abs')(...Array(300).fill(x)), /too many/],
      [() => loose('abs')(...Array(100).fill(x)), /too many/],
    ];
    for (const [run, message] of cases) {
      assert.throws(
        run,
        (error: Error) => error instanceof TypeError && message.test(error.message),
        String(run),
      );
    }
  });

  test('libtorch refuses: the operator is named', () => {
    assert.throws(() => x.mm(x), /^Error: aten::mm: mat1 and mat2 shapes cannot be multiplied/);
    assert.throws(() => x.view([7]), /aten::view: shape '\[7\]' is invalid/);
    assert.throws(() => torch.zeros([2 ** 50]), /aten::zeros/);
    assert.throws(() => torch.zeros([2 ** 31, 2 ** 31, 2 ** 31]), /aten::zeros/);
    assert.throws(() => torch.zeros([-1]), /negative/);
    assert.throws(() => x.to('cuda:99'), /aten::_to_copy/);
  });

  test('too many results', () => {
    const before = torch.memoryStats().liveTensors;
    assert.throws(() => torch.zeros([70000]).unbind(), /70,?00\d values/);
    assert.ok(torch.memoryStats().liveTensors < before + 10, 'none of them stays behind');
    assert.equal(torch.zeros([60000]).unbind().length, 60000);
  });

  test('operators that do not exist', () => {
    assert.throws(
      () => native.resolve('no_such_operator'),
      /libtorch has no operator aten::no_such_operator/,
    );
    assert.throws(() => native.resolve('record_stream'), /cannot be called from JavaScript.*\n.*Stream/s);
  });
});

describe('coverage', () => {
  const pinned = /^2\.13\.0/.test(torch.version());
  const skip = !pinned && `generated from libtorch 2.13.0; this is ${torch.version()}`;
  const coverage = readFileSync(join(repoRoot, 'src/torch/generated/coverage.txt'), 'utf8');

  test('at least 99 % of the schemas can be called', () => {
    const all = native.schemas();
    const callable = all.filter(([, reason]) => reason === '');
    assert.ok(all.length > 3000);
    assert.ok(callable.length / all.length >= 0.99, `${callable.length} of ${all.length}`);
    assert.ok(torch.operatorNames().length > 1500);
    assert.ok(torch.schemas('conv2d').length === 2);
  });

  test('the committed list is what the addon says', { skip }, () => {
    const lines = coverage.trim().split('\n').slice(1);
    const said = new Map(
      lines.map((line) => [line.slice(5).split('  #')[0]!.trim(), line.slice(0, 3).trim()]),
    );
    const missing = native
      .schemas()
      .filter(([schema]) => ![...said.keys()].some((key) => key.startsWith(schema)));
    assert.deepEqual(missing, []);
    assert.equal(said.size, native.schemas().length);
    const yes = [...said.values()].filter((answer) => answer === 'yes').length;
    assert.match(coverage, new RegExp(`^libtorch 2\\.13\\.0: ${yes} of ${said.size} aten schemas`));
    assert.ok(yes / said.size >= 0.99);
  });

  test('every operator that can be called has its function', { skip }, () => {
    const without = torch.operatorNames().filter((name) => typeof surface[name] !== 'function');
    assert.deepEqual(without, []);
  });
});

test('numbers stand for tensors as in Python: result, dtype, graph node', {
  skip: pythonTorch() === undefined && pythonTorchMissing,
}, () => {
  const cases = [
    'add',
    'sub',
    'mul',
    'div',
    'pow',
    'remainder',
    'fmod',
    'floor_divide',
    'eq',
    'lt',
    'maximum',
  ].flatMap((op) =>
    [2, 0.5, -0, true].flatMap((number) =>
      ['float32', 'float64', 'float16', 'int64', 'uint8', 'bool'].flatMap((dtype) =>
        ['1d', '0d'].map((kind) => ({ op, number, dtype, kind })),
      ),
    ),
  );
  type Row = { values?: (number | boolean | string)[]; dtype?: string; node?: string | null; error?: true };
  const expected = runPython<Row[]>(
    `
import json, sys, torch
out = []
for c in json.load(sys.stdin):
    number = -0.0 if c['number'] == 0 else c['number']
    dtype = getattr(torch, c['dtype'])
    x = torch.tensor(3 if c['kind'] == '0d' else [1, 3], dtype=dtype)
    if dtype.is_floating_point: x.requires_grad_()
    try:
        y = getattr(x, c['op'])(number)
        out.append({'values': [str(float(v)) for v in y.reshape(-1).tolist()], 'dtype': str(y.dtype)[6:],
                    'node': y.grad_fn.name() if y.grad_fn else None})
    except (TypeError, RuntimeError) as e:
        out.append({'error': True})
json.dump(out, sys.stdout)
`,
    cases.map((c) => ({ ...c })),
  );
  const failures: string[] = [];
  cases.forEach(({ op, number, dtype, kind }, at) => {
    const of = surface[dtype] as torch.DType;
    const x = torch.tensor(kind === '0d' ? 3 : [1, 3], { dtype: of });
    if (of.isFloatingPoint) x.requiresGrad_();
    let found: Row;
    try {
      const y = (x[op as 'add'] as unknown as Loose).call(x, number);
      const text = (v: number) => (Object.is(v, -0) ? '-0.0' : Number.isInteger(v) ? `${v}.0` : `${v}`);
      const values = list(y).map((v) => text(Number(v)).replace('Infinity', 'inf').replace('NaN', 'nan'));
      found = { values, dtype: y.dtype.name, node: y.gradFnName };
    } catch {
      found = { error: true };
    }
    try {
      assert.deepEqual(found, expected[at]);
    } catch {
      failures.push(
        `${dtype} ${kind} ${op} ${number}: ${JSON.stringify(found)}, not ${JSON.stringify(expected[at])}`,
      );
    }
  });
  assert.deepEqual(failures, []);
});
