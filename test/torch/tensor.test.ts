import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
const turn = () => new Promise((resolve) => setImmediate(resolve));

const { Tensor } = torch;
const list = (tensor: torch.Tensor) => Array.from(tensor.toTypedArray() as ArrayLike<number>);

describe('creation', () => {
  const arrays: [torch.TypedArray, torch.DType][] = [
    [Float32Array.of(1.5, -2, 3), torch.float32],
    [Float64Array.of(0.1, Number.NaN, Number.POSITIVE_INFINITY), torch.float64],
    [Uint8Array.of(0, 1, 255), torch.uint8],
    [Uint8ClampedArray.of(0, 1, 255), torch.uint8],
    [Int8Array.of(-128, 0, 127), torch.int8],
    [Int16Array.of(-32768, 0, 32767), torch.int16],
    [Uint16Array.of(0, 1, 65535), torch.uint16],
    [Int32Array.of(-2147483648, 0, 2147483647), torch.int32],
    [Uint32Array.of(0, 1, 4294967295), torch.uint32],
    [BigInt64Array.of(-(2n ** 63n), 0n, 2n ** 63n - 1n), torch.int64],
    [BigUint64Array.of(0n, 1n, 2n ** 64n - 1n), torch.uint64],
  ];
  for (const [array, dtype] of arrays) {
    test(`from ${array.constructor.name}: copied by tensor(), shared by fromTypedArray()`, () => {
      const copy = torch.tensor(array);
      const shared = torch.fromTypedArray(array, [3, 1]);
      assert.equal(copy.dtype, dtype);
      assert.deepEqual(copy.shape, [3]);
      assert.deepEqual(shared.shape, [3, 1]);
      const before = Array.from(array as ArrayLike<unknown>);
      assert.deepEqual(Array.from(copy.toTypedArray() as ArrayLike<unknown>), before);
      array[1] = array[0]!;
      assert.deepEqual(Array.from(copy.toTypedArray() as ArrayLike<unknown>), before, 'the copy stays');
      assert.deepEqual(
        Array.from(shared.toTypedArray() as ArrayLike<unknown>),
        Array.from(array as ArrayLike<unknown>),
        'JavaScript writes are seen by the tensor',
      );
      shared.zero_();
      assert.ok(Array.from(array as ArrayLike<unknown>).every((v) => Number(v) === 0));
    });
  }

  test('from part of a buffer, shared and copied', () => {
    const whole = Float32Array.of(0, 1, 2, 3, 4, 5);
    const part = whole.subarray(2, 4);
    assert.deepEqual(list(torch.tensor(part)), [2, 3]);
    const shared = torch.fromTypedArray(part);
    shared.mul_(10);
    assert.deepEqual([...whole], [0, 1, 20, 30, 4, 5]);
  });

  test('from a Buffer, whose offset and length must fit', () => {
    const bytes = Buffer.from(new ArrayBuffer(32), 0, 32);
    bytes.writeFloatLE(2.5, 8);
    const shared = torch.fromBuffer(bytes.subarray(8, 16), torch.float32, [2]);
    assert.deepEqual(list(shared), [2.5, 0]);
    bytes.writeFloatLE(-1, 12);
    assert.deepEqual(list(shared), [2.5, -1]);
    assert.throws(() => torch.fromBuffer(bytes.subarray(1, 9), torch.float32, [2]), {
      name: 'TypeError',
      message: /not aligned.*copy/,
    });
    const unaligned = Buffer.alloc(9);
    unaligned.writeFloatLE(7, 1);
    const copied = torch.fromBuffer(unaligned.subarray(1, 5), torch.float32, [1], { copy: true });
    assert.deepEqual(list(copied), [7]);
    assert.throws(() => torch.fromBuffer(bytes, torch.float32, [3]), /needs 12 bytes but 32 are given/);
    assert.throws(() => torch.fromBuffer(bytes, torch.float32, [-1]), TypeError);
    assert.throws(() => torch.fromBuffer(bytes, torch.float32, [2 ** 40, 2 ** 40]), TypeError);
    assert.throws(() => torch.fromBuffer(bytes, torch.float32, [0.5, 16]), TypeError);
    assert.deepEqual(torch.fromBuffer(new DataView(bytes.buffer), torch.int64, [4]).shape, [4]);
  });

  test('memory that could vanish is not shared', () => {
    const common = new Float32Array(new SharedArrayBuffer(8));
    common[0] = 3;
    assert.throws(() => torch.fromTypedArray(common), /SharedArrayBuffer/);
    assert.deepEqual(list(torch.tensor(common)), [3, 0]);

    const resizable = new (ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer)(16, {
      maxByteLength: 65536,
    });
    assert.throws(() => torch.fromTypedArray(new Float32Array(resizable)), /resizable/);
    assert.deepEqual(list(torch.tensor(new Float32Array(resizable))), [0, 0, 0, 0]);

    const lent = new Float32Array(1024).fill(5);
    const tensor = torch.fromTypedArray(lent);
    try {
      structuredClone(lent, { transfer: [lent.buffer] });
    } catch (error) {
      assert.equal((error as Error).name, 'DataCloneError');
    }
    gc();
    assert.equal(tensor.sum().item(), 5 * 1024);
  });

  test('shared memory lives as long as the longer of the two', async () => {
    let array: Float32Array | undefined = new Float32Array(1 << 20).fill(1);
    let tensor: torch.Tensor | undefined = torch.fromTypedArray(array);
    const view = tensor.narrow(0, 5, 10);
    array = undefined;
    tensor.dispose();
    tensor = undefined;
    for (let i = 0; i < 3; i++) {
      gc();
      await turn();
      new Float32Array(1 << 20).fill(9);
    }
    assert.deepEqual(list(view), Array(10).fill(1));

    const kept = new Float32Array(1 << 16).fill(2);
    torch.fromTypedArray(kept).dispose();
    gc();
    await turn();
    assert.ok(kept.every((value) => value === 2));
  });

  test('from numbers, bigints, booleans and nested arrays', () => {
    assert.equal(torch.tensor(3).dtype, torch.float32);
    assert.deepEqual(torch.tensor(3).shape, []);
    assert.equal(torch.tensor(3n).dtype, torch.int64);
    assert.equal(torch.tensor(true).dtype, torch.bool);
    assert.equal(torch.tensor(true).item(), true);
    assert.deepEqual(
      torch.tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]).shape,
      [2, 3],
    );
    assert.deepEqual(torch.tensor([[true], [false]]).toArray(), [[true], [false]]);
    assert.deepEqual(torch.tensor([[1n], [2n]]).toArray(), [[1], [2]]);
    assert.deepEqual(torch.tensor([]).shape, [0]);
    assert.deepEqual(torch.tensor([[], []]).shape, [2, 0]);
    assert.deepEqual(torch.tensor([[], []]).toArray(), [[], []]);
    assert.equal(torch.tensor([1, 2], { dtype: torch.int64 }).dtype, torch.int64);
    assert.equal(torch.tensor(0.1, { dtype: torch.float64 }).item(), 0.1);
    assert.equal(torch.tensor([1], { requiresGrad: true }).requiresGrad, true);
    const source = torch.tensor([1, 2]);
    const copy = torch.tensor(source);
    source.add_(1);
    assert.deepEqual(list(copy), [1, 2]);
  });

  test('what is no tensor is refused in words', () => {
    const cases: [unknown, RegExp][] = [
      [[[1, 2], [3]], /ragged.*\[1\].*1 elements, 2 are expected/],
      [[[1], 2], /ragged/],
      [[1, [2]], /ragged/],
      [[1, true], /boolean among values of type number/],
      [[1, 2n], /bigint among values of type number/],
      ['text', /string/],
      [[undefined], /undefined/],
      [null, /./],
      [{}, /./],
      [() => 1, /function/],
      [Symbol('s'), /symbol/],
    ];
    for (const [data, message] of cases) {
      assert.throws(
        () => torch.tensor(data as number[]),
        (error: Error) => error.name === 'TypeError' && message.test(error.message),
      );
    }
    const cycle: unknown[] = [];
    cycle.push(cycle);
    assert.throws(() => torch.tensor(cycle as number[]), /64 deep/);
  });
});

describe('dtypes', () => {
  test('of numbers in factories', () => {
    assert.equal(torch.full([2], 1).dtype, torch.float32);
    assert.equal(torch.full([2], 1n).dtype, torch.int64);
    assert.equal(torch.full([2], true).dtype, torch.bool);
    assert.equal(torch.full([2], 1, { dtype: torch.int32 }).dtype, torch.int32);
    assert.equal(torch.arange(3).dtype, torch.int64);
    assert.equal(torch.arange(0, 1, 0.25).dtype, torch.float32);
    assert.deepEqual(torch.arange(2, 8, 3).toArray(), [2, 5]);
    assert.equal(torch.zeros([1]).dtype, torch.float32);
    assert.equal(torch.linspace(0, 1, 3).dtype, torch.float32);
    assert.equal(torch.randperm(3).dtype, torch.int64);
    assert.equal(torch.randint(0, 3, [2]).dtype, torch.int64);
    assert.deepEqual(torch.zeros(3).shape, [3]);
    assert.deepEqual(torch.zeros([]).shape, []);
    assert.deepEqual(torch.eye(2, 3).shape, [2, 3]);
    assert.equal(torch.eye(2, { dtype: torch.int64 }).dtype, torch.int64);
  });

  test('half and bfloat16 round as libtorch rounds', () => {
    const exact = torch.tensor([0, 1, -2.5, 65504, 1 / 3, 6e-8, Number.POSITIVE_INFINITY]);
    assert.deepEqual(list(exact.half()).slice(0, 4), [0, 1, -2.5, 65504]);
    assert.equal(list(exact.half())[4], 0.333251953125);
    assert.equal(list(exact.bfloat16())[4], 0.333984375);
    for (const dtype of [torch.float16, torch.bfloat16]) {
      const there = exact.to(dtype);
      assert.ok(there.toTypedArray() instanceof Float32Array);
      assert.deepEqual(list(torch.tensor(there.toTypedArray()).to(dtype)), list(there));
      const grown = there.clone().requiresGrad_();
      assert.deepEqual(list(grown), list(there), 'a tensor that requires grad can be read');
      assert.equal(there.dtype.itemsize, 2);
    }
  });

  test('int64 beyond 2^53', () => {
    const big = 2n ** 60n + 1n;
    const tensor = torch.tensor([big, -big, 5n]);
    assert.deepEqual(tensor.toArray(), [big, -big, 5]);
    assert.equal(tensor.select(0, 0).item(), big);
    assert.equal(tensor.select(0, 2).item(), 5);
    assert.equal(torch.tensor([2n ** 53n - 1n]).item(), 2 ** 53 - 1);
    assert.equal(torch.tensor([2n ** 53n]).item(), 2n ** 53n);
    assert.equal(torch.tensor(big).add(1n).item(), big + 1n);
    assert.throws(() => torch.tensor(1n).add(2n ** 64n), /64 bits/);
    assert.equal(torch.full([1], big).item(), big);
  });

  test('item', () => {
    assert.equal(torch.tensor(0.5).item(), 0.5);
    assert.equal(torch.tensor([[[-7]]], { dtype: torch.int8 }).item(), -7);
    assert.equal(torch.tensor(1.5).half().item(), 1.5);
    assert.ok(Number.isNaN(torch.tensor(Number.NaN).item()));
    assert.throws(() => torch.tensor([1, 2]).item(), /2 elements|one element|only.*element/i);
    assert.throws(() => torch.tensor([]).item(), /0 elements|one element|only.*element/i);
    assert.equal(torch.tensor([2], { requiresGrad: true }).item(), 2);
  });

  test('conversions', () => {
    const x = torch.tensor([1.7, -1.7, 0]);
    assert.deepEqual(x.long().toArray(), [1, -1, 0]);
    assert.deepEqual(x.bool().toArray(), [true, true, false]);
    const dtypes = [x.int(), x.short(), x.char(), x.double(), x.half(), x.bfloat16(), x.abs().byte()];
    assert.deepEqual(
      dtypes.map((t) => t.dtype.name),
      ['int32', 'int16', 'int8', 'float64', 'float16', 'bfloat16', 'uint8'],
    );
    assert.equal(x.to(torch.float32), x, 'nothing to change: the same object');
    assert.equal(x.to('cpu'), x);
    assert.equal(x.cpu(), x);
    assert.notEqual(x.to({ copy: true }), x);
    assert.equal(x.to(torch.tensor(1n)).dtype, torch.int64);
    assert.equal(x.to({ dtype: torch.float64, device: 'cpu' }).dtype, torch.float64);
    assert.throws(() => x.to('nowhere'), /nowhere/);
    assert.throws(() => x.to('cuda:99'), /cuda|CUDA|NVIDIA/);
    assert.equal(String(torch.float32), 'torch.float32');
    assert.equal(x.to('meta').device.type, 'meta');
  });
});

describe('members', () => {
  test('shape, strides, contiguity, device', () => {
    const x = torch.arange(24).view([2, 3, 4]);
    assert.deepEqual(x.strides, [12, 4, 1]);
    const y = x.permute([2, 0, 1]);
    assert.deepEqual([y.shape, y.strides, y.isContiguous()], [[4, 2, 3], [1, 12, 4], false]);
    assert.equal(y.contiguous().isContiguous(), true);
    assert.deepEqual(y.toArray(), y.contiguous().toArray());
    assert.equal(x.dim(), 3);
    assert.equal(x.numel(), 24);
    assert.equal(torch.zeros([3, 0]).numel(), 0);
    assert.equal(String(x.device), 'cpu');
    assert.equal(x.device.index, -1);
    assert.deepEqual(
      torch.zeros([2, 3, 4, 5]).contiguous({ memory_format: 'channels_last' }).strides,
      [60, 1, 15, 3],
    );
  });

  test('a sparse tensor has a shape too', () => {
    const sparse = torch.eye(3).to_sparse();
    assert.deepEqual(sparse.shape, [3, 3]);
    assert.equal(sparse.isContiguous(), false);
    assert.throws(() => sparse.toArray(), /use to_dense/);
    const complex = torch.complex(torch.ones([2]), torch.zeros([2]));
    assert.throws(() => complex.toArray(), /view_as_real/);
    assert.deepEqual(list(complex), [1, 0, 1, 0]);
    assert.throws(() => torch.ones([1], { device: 'meta' }).toArray(), /meta/);
  });
});

describe('life', () => {
  test('use after disposal is a TypeError that says so', () => {
    const x = torch.ones([2]);
    const y = torch.ones([2]);
    x.dispose();
    x.dispose();
    assert.equal(x.isDisposed, true);
    const uses: (() => unknown)[] = [
      () => x.shape,
      () => x.dtype,
      () => x.add(y),
      () => y.add(x),
      () => torch.cat([y, x]),
      () => x.item(),
      () => x.toArray(),
      () => x.toTypedArray(),
      () => x.backward(),
      () => x.requiresGrad_(),
      () => x.grad,
      () => x.registerHook(() => undefined),
      () => x.keep(),
      () => y.copy_(x),
      () => torch.add(y, y, { out: x }),
      () => x.gradFnName,
      () => x.to(torch.float64),
      () => x.index(0),
      () => torch.autograd.grad(x, y),
    ];
    for (const use of uses) {
      assert.throws(
        use,
        (error: Error) => error instanceof TypeError && /released/.test(error.message),
        String(use),
      );
    }
    assert.equal(x.toString(), 'Tensor(released)');
    assert.equal(inspect(x), 'Tensor(released)');
  });

  test('a reused slot does not bring a stale tensor back to life', () => {
    const x = torch.ones([2]);
    x.dispose();
    const many = Array.from({ length: 100 }, (_, i) => torch.full([1], i));
    assert.equal(x.isDisposed, true);
    assert.throws(() => x.shape, /released/);
    assert.deepEqual(
      many.map((t) => t.item()),
      Array.from({ length: 100 }, (_, i) => i),
    );
  });

  test('views and graphs outlive the tensor they came from', () => {
    const x = torch.ones([4], { requiresGrad: true });
    const y = x.mul(3);
    const z = y.sum();
    y.dispose();
    z.backward();
    assert.deepEqual(x.grad!.toArray(), [3, 3, 3, 3]);
  });

  test('objects that are no tensors of ours', () => {
    const y = torch.ones([2]);
    const impostors: unknown[] = [
      Object.create(Tensor.prototype),
      Object.assign(Object.create(Tensor.prototype), { handle: 'no' }),
      new Tensor(0),
      new Tensor(-1),
      new Tensor(Number.NaN),
      new Tensor(2 ** 60),
      new Tensor(1e300),
      new Tensor(0.5),
      new Tensor('x' as unknown as number),
      new Tensor({} as unknown as number),
      new Tensor(undefined as unknown as number),
      new Tensor(1n as unknown as number),
    ];
    for (const impostor of impostors) {
      const t = impostor as torch.Tensor;
      for (const use of [() => y.add(t), () => t.add(y), () => torch.cat([t]), () => t.shape, () => t.grad]) {
        assert.throws(use, TypeError);
      }
      assert.throws(() => t.keep(), TypeError);
      t.dispose();
      assert.equal(typeof t.toString(), 'string');
    }
    for (const object of [
      { handle: y.handle },
      new Date(),
      new Proxy({}, {}),
      new Map(),
      () => 1,
      Symbol.iterator,
    ]) {
      assert.throws(() => y.matmul(object as unknown as torch.Tensor), TypeError);
      assert.throws(() => torch.cat([object as unknown as torch.Tensor]), TypeError);
    }
  });
});
