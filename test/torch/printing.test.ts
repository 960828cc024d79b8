import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { getPrintOptions, setPrintOptions } from '../../src/torch/printing.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from './python_json.js';

type Values = (number | bigint | boolean)[];

interface Case {
  dtype: torch.DType;
  shape: number[];
  values: Values;
  grad?: 'leaf' | 'mul';
}

function build({ dtype, shape, values, grad }: Case): torch.Tensor {
  const wide = typeof values[0] === 'bigint' ? torch.int64 : torch.float64;
  const x = torch.tensor(values.map((v) => (typeof v === 'boolean' ? Number(v) : v)) as number[], {
    dtype: wide,
  });
  const shaped = x.view(shape).to(dtype);
  if (grad === undefined) return shaped;
  const leaf = shaped.requiresGrad_();
  return grad === 'mul' ? leaf.mul(torch.ones([]).to(dtype)) : leaf;
}

const PYTHON = `
import json, sys, torch
out = []
for c in json.load(sys.stdin):
    wide = torch.int64 if c['int'] else torch.float64
    x = torch.tensor([(int if c['int'] else float)(v) for v in c['values']], dtype=wide)
    x = x.view(c['shape']).to(getattr(torch, c['dtype']))
    if c['grad']: x = x.detach().requires_grad_()
    if c['grad'] == 'mul': x = x * 1
    out.append(repr(x))
json.dump(out, sys.stdout)
`;

// A small generator of its own, so that both sides see the same numbers on every machine.
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function cases(): Case[] {
  const next = random(7);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const floats = [torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16];
  const shapes = [
    [],
    [1],
    [3],
    [7],
    [40],
    [2, 3],
    [3, 1, 4],
    [2, 2, 2, 2],
    [1, 30],
    [12, 9],
    [7, 8, 20],
    [1001],
    [5, 300],
  ];
  const kinds: (() => number)[] = [
    () => next() * 2 - 1,
    () => (next() - 0.5) * 10 ** Math.floor(next() * 12 - 6),
    () => Math.floor(next() * 100) - 20,
    () => Math.floor(next() * 64) / 32,
    () => Math.floor(next() * 1e9) * 1000,
    () => pick([0, -0, 1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2]),
    () => pick([0, -0, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 100.125]),
    () => pick([0, -0]),
    () => pick([1e-7, 3, 12345.678]),
    () => next() * 1e-4,
    () => pick([5e8, 1e8, 1.00005]),
    () => 100000 + Math.floor(next() * 20) / 2,
    () =>
      Number(`${Math.floor(next() * 9 + 1)}.${Math.floor(next() * 10000)}5e${Math.floor(next() * 40 - 20)}`),
  ];
  const result: Case[] = [];
  for (let i = 0; i < 260; i++) {
    const shape = pick(shapes);
    const kind = kinds[i % kinds.length]!;
    const count = shape.reduce((a, b) => a * b, 1);
    const grad = i % 7 === 0 ? 'leaf' : i % 11 === 0 ? 'mul' : undefined;
    result.push({ dtype: pick(floats), shape, values: Array.from({ length: count }, kind), grad });
  }
  for (const dtype of [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]) {
    for (const shape of shapes) {
      const count = shape.reduce((a, b) => a * b, 1);
      const top = dtype === torch.int64 ? 1e12 : dtype === torch.bool ? 2 : 120;
      result.push({
        dtype,
        shape,
        values: Array.from({ length: count }, () => BigInt(Math.floor(next() * top))),
      });
    }
  }
  for (const shape of [[0], [2, 0], [0, 3, 1]]) {
    for (const dtype of [torch.float32, torch.int64, torch.bool, torch.float64]) {
      result.push({ dtype, shape, values: [] });
    }
  }
  result.push({ dtype: torch.int64, shape: [2], values: [2n ** 63n - 1n, -(2n ** 63n)] });
  return result;
}

const python = pythonTorch();

test('prints as Python repr does', { skip: python ? false : pythonTorchMissing }, () => {
  const all = cases();
  const input = all.map(({ dtype, shape, values, grad }) => ({
    dtype: dtype.name,
    shape,
    int: typeof values[0] === 'bigint',
    values: values.map((v) => (Object.is(v, -0) ? '-0' : String(v).replace('Infinity', 'inf'))),
    grad: grad ?? null,
  }));
  const expected = runPython<string[]>(PYTHON, input);
  for (const [i, one] of all.entries()) {
    assert.equal(String(build(one)), expected[i], `${one.dtype} [${one.shape}] case ${i}`);
  }
});

test('prints numbers, masks, empty and large tensors', () => {
  const text = (data: never, dtype?: torch.DType) => String(torch.tensor(data, { dtype }));
  assert.equal(text([1, 2.5, -3] as never), 'tensor([ 1.0000,  2.5000, -3.0000])');
  assert.equal(text([1, 2] as never), 'tensor([1., 2.])');
  assert.equal(text([1, 2] as never, torch.float64), 'tensor([1., 2.], dtype=torch.float64)');
  assert.equal(text(3.5 as never), 'tensor(3.5000)');
  assert.equal(text([[true], [false]] as never), 'tensor([[ True],\n        [False]])');
  assert.equal(text([1, Number.NaN, Number.NEGATIVE_INFINITY] as never), 'tensor([1., nan, -inf])');
  assert.equal(text([1e-5, 1] as never), 'tensor([1.0000e-05, 1.0000e+00])');
  assert.equal(text([0.03125, 0.09375] as never), 'tensor([0.0312, 0.0938])');
  assert.equal(String(torch.zeros([2, 0])), 'tensor([], size=(2, 0))');
  assert.equal(String(torch.arange(2000)), 'tensor([   0,    1,    2,  ..., 1997, 1998, 1999])');
  assert.equal(String(torch.zeros([2], { device: 'meta' })), "tensor(..., device='meta', size=(2,))");
});

test('prints what autograd knows', () => {
  const x = torch.tensor([1, 2], { requiresGrad: true });
  assert.equal(String(x), 'tensor([1., 2.], requires_grad=True)');
  assert.equal(String(x.mul(x)), 'tensor([1., 4.], grad_fn=<MulBackward0>)');
});

test('prints complex tensors, and layouts that are not strided', () => {
  const z = torch.view_as_complex(
    torch.tensor([
      [1, 2],
      [3.5, -4],
    ]),
  );
  assert.equal(String(z), 'tensor([1.0000+2.j, 3.5000-4.j])');
  assert.equal(String(z.conj()), 'tensor([1.0000-2.j, 3.5000+4.j])');
  const sparse = torch.eye(2).to_sparse();
  assert.match(
    String(sparse),
    /^tensor\(\[\[1\., 0\.\],\n {8}\[0\., 1\.\]\], size=\(2, 2\), layout=torch\.sparse_coo\)$/,
  );
});

test('printing leaves no tensor behind', () => {
  const x = torch.randn([40, 40]);
  const before = torch.memoryStats().liveTensors;
  String(x);
  assert.ok(torch.memoryStats().liveTensors <= before);
  torch.scope(() => void String(x));
  assert.equal(x.isDisposed, false);
});

test('print options', () => {
  const before = getPrintOptions();
  try {
    setPrintOptions({ precision: 2, threshold: 5, edgeitems: 1 });
    assert.equal(String(torch.tensor([0.123, 1, 2, 3, 4, 5])), 'tensor([0.12,  ..., 5.00])');
    assert.throws(() => setPrintOptions({ precision: -1 }), /precision cannot be -1/);
    assert.equal(getPrintOptions().precision, 2);
  } finally {
    setPrintOptions(before);
  }
});
