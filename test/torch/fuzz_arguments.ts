// Random argument lists for operators: described as plain data (so that a call can be written down before it is
// made, and made again from the note), and built from it.

import fc from 'fast-check';
import * as torch from '../../src/torch/index.js';

const dtypes = {
  float32: torch.float32,
  int64: torch.int64,
  float64: torch.float64,
  int32: torch.int32,
  bool: torch.bool,
  uint8: torch.uint8,
  int8: torch.int8,
  int16: torch.int16,
  float16: torch.float16,
  bfloat16: torch.bfloat16,
  complex64: torch.complex64,
} as const;
type DTypeName = keyof typeof dtypes;
const dtypeNames = Object.keys(dtypes) as DTypeName[];

/** How to build one tensor; null stands for the call's common shape or dtype. */
export interface TensorSpec {
  tensor: { shape: number[] | null; dtype: DTypeName | null; fill: string; form: string; seed: number };
}
export type Spec =
  | null
  | boolean
  | string
  | number
  | TensorSpec
  | Spec[]
  | { special: string }
  | { big: string }
  | { dtype: string }
  | { junk: string };

/** A call: everything that is needed to make it again. */
export interface Call {
  name: string;
  shape: number[];
  dtype: DTypeName;
  args: Spec[];
  keywords: Record<string, Spec>;
  backward: boolean;
}

const dimension = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 5 }) },
  fc.constantFrom(0, 8, 16),
);
const shape = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom<number[]>(
      [],
      [1],
      [3],
      [5],
      [2, 3],
      [3, 3],
      [4, 4],
      [2, 3, 4],
      [3, 3, 3],
      [2, 3, 4, 4],
      [1, 3, 8, 8],
      [1, 2, 3, 4, 4],
      [0],
      [2, 0],
      [64, 64],
    ),
  },
  { weight: 1, arbitrary: fc.array(dimension, { maxLength: 6 }) },
);
const dtype = fc.oneof(
  { weight: 2, arbitrary: fc.constant<DTypeName>('float32') },
  fc.constant<DTypeName>('int64'),
  fc.constantFrom(...dtypeNames),
);
const plain = ['plain', 'plain', 'plain', 'plain', 'transposed', 'strided', 'expanded', 'grad', 'grad'];
const forms = ['sparse', 'csr', 'quantized', 'channel', 'meta', 'conj', 'neg', 'mkldnn', 'nested', 'last'];

const tensor: fc.Arbitrary<Spec> = fc
  .record({
    shape: fc.option(shape, { nil: null, freq: 1 }),
    dtype: fc.option(dtype, { nil: null, freq: 1 }),
    fill: fc.constantFrom('small', 'small', 'random', 'zero', 'large', 'negative', 'nan'),
    form: fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...plain) }, fc.constantFrom(...forms)),
    seed: fc.nat(1e6),
  })
  .map((spec) => ({ tensor: spec }));

const smallInt = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0, 1, 2, 3, -1) },
  fc.integer({ min: -6, max: 12 }),
);
const integer: fc.Arbitrary<Spec> = fc.oneof(
  { weight: 16, arbitrary: smallInt },
  fc.constantFrom<Spec>(
    2 ** 31,
    2 ** 31 - 1,
    -(2 ** 31),
    1e9,
    65536,
    100,
    -100,
    { big: String(2n ** 63n - 1n) },
    { big: String(-(2n ** 63n)) },
    { big: String(2n ** 62n) },
  ),
);
const special = (name: string): Spec => ({ special: name });
const float: fc.Arbitrary<Spec> = fc.constantFrom<Spec>(
  ...[0, 0.5, 1, -1, 0.1, 1e-5, 2, 1e30, -0.5, 1e308],
  special('NaN'),
  special('Infinity'),
  special('-Infinity'),
);
const scalar = fc.oneof(integer, float, fc.boolean());
const strings =
  'mean none sum constant reflect replicate linear tanh floor trunc max prod amax left right L ii->i ij,jk->ik bilinear abc'.split(
    ' ',
  );
const word: fc.Arbitrary<Spec> = fc.constantFrom<Spec>(...strings, '');
const optional = (arbitrary: fc.Arbitrary<Spec>): fc.Arbitrary<Spec> =>
  fc.oneof({ weight: 2, arbitrary }, { weight: 1, arbitrary: fc.constant<Spec>(null) });
const list = (arbitrary: fc.Arbitrary<Spec>, maxLength = 4): fc.Arbitrary<Spec> =>
  fc.array(arbitrary, { maxLength });

const junkNames = [
  'undefined',
  'symbol',
  'function',
  'object',
  'prototype',
  'disposed',
  'cyclic',
  'nested',
  'date',
  'map',
  'proxy',
  'sparse array',
  'long list',
  'typed array',
  'bigint list',
  'huge bigint',
  'mixed list',
  'class',
  'dtype prototype',
  'throwing getter',
];
/** What no operator wants. */
const junk: fc.Arbitrary<Spec> = fc.constantFrom<Spec>(...junkNames.map((name) => ({ junk: name })));
const anything = fc.oneof(
  junk,
  tensor,
  integer,
  float,
  word,
  fc.boolean(),
  list(integer),
  list(tensor, 3),
  list(fc.boolean()),
);

interface Argument {
  name: string;
  type: string;
  keyword: boolean;
  hasDefault: boolean;
}

/** The arguments of a schema such as `aten::sum.dim_IntList(Tensor self, int[1]? dim, *, Tensor(a!) out) -> ...`. */
export function parseSchema(schema: string): Argument[] {
  const inside = schema.slice(schema.indexOf('(') + 1, schema.lastIndexOf(') ->'));
  const parts: string[] = [];
  let depth = 0;
  let part = '';
  for (const letter of inside) {
    if ('[('.includes(letter)) depth++;
    if ('])'.includes(letter)) depth--;
    if (letter === ',' && depth === 0) {
      parts.push(part);
      part = '';
    } else {
      part += letter;
    }
  }
  if (part.trim() !== '') parts.push(part);
  let keyword = false;
  const found: Argument[] = [];
  for (const text of parts.map((p) => p.trim())) {
    if (text === '*') {
      keyword = true;
      continue;
    }
    const [, type, name, value] = /^(.*?) (\w+)(=.*)?$/.exec(text) ?? [];
    if (type === undefined || name === undefined) throw new Error(`cannot read ${text} in ${schema}`);
    found.push({ name, type: type.replace(/\([^)]*\)/, ''), keyword, hasDefault: value !== undefined });
  }
  return found;
}

function ofType(type: string): fc.Arbitrary<Spec> {
  if (type.endsWith('?')) return optional(ofType(type.slice(0, -1)));
  const many = /^(.*)\[\d*\]$/.exec(type);
  if (many) {
    const element = many[1]!;
    if (element === 'Tensor' || element === 'Tensor?')
      return list(element.endsWith('?') ? optional(tensor) : tensor, 3);
    return fc.oneof(
      { weight: 5, arbitrary: list(ofType(element)) },
      { weight: 1, arbitrary: ofType(element) },
    );
  }
  switch (type) {
    case 'Tensor':
      return tensor;
    case 'int':
    case 'SymInt':
      return integer;
    case 'float':
      return float;
    case 'bool':
      return fc.boolean();
    case 'Scalar':
      return scalar;
    case 'str':
      return word;
    case 'ScalarType':
      return fc.constantFrom<Spec>(...dtypeNames.map((name) => ({ dtype: name })));
    case 'Device':
      return fc.constantFrom<Spec>('cpu', 'cpu', 'cpu', 'meta', 'cuda', 'cuda:99', 'nonsense');
    case 'Layout':
      return fc.constantFrom<Spec>('strided', 'strided', 'sparse_coo', 'sparse_csr', 'nonsense');
    case 'MemoryFormat':
      return fc.constantFrom<Spec>(
        'contiguous_format',
        'channels_last',
        'preserve_format',
        'channels_last_3d',
        'x',
      );
    case 'Generator':
      return fc.constant<Spec>({ junk: 'generator' });
    default:
      return anything;
  }
}

function plausible(name: string, schema: string): fc.Arbitrary<Omit<Call, 'shape' | 'dtype'>> {
  const given = parseSchema(schema).map((argument) =>
    fc.record({
      // Left out now and then, where there is a default; and now and then something else altogether.
      left: argument.hasDefault ? fc.boolean() : fc.constant(false),
      value: fc.oneof({ weight: 40, arbitrary: ofType(argument.type) }, { weight: 1, arbitrary: anything }),
      argument: fc.constant(argument),
    }),
  );
  return fc.record({ given: fc.tuple(...given), backward: fc.boolean() }).map(({ given: all, backward }) => {
    const args: Spec[] = [];
    const keywords: Record<string, Spec> = {};
    let positional = true;
    for (const { left, value, argument } of all) {
      if (argument.keyword || !positional) {
        if (!left) keywords[argument.name] = value;
      } else if (left) {
        positional = false;
      } else {
        args.push(value);
      }
    }
    return { name, args, keywords, backward };
  });
}

function nonsense(name: string): fc.Arbitrary<Omit<Call, 'shape' | 'dtype'>> {
  const key = fc.constantFrom(
    'dim',
    'out',
    'dtype',
    'self',
    '__proto__',
    '',
    'keepdim',
    'generator',
    'nonsense',
  );
  return fc.record({
    name: fc.constant(name),
    args: fc.array(anything, { maxLength: 6 }),
    keywords: fc.dictionary(key, anything, { maxKeys: 2 }),
    backward: fc.constant(false),
  });
}

/** A random call of one of the operators `names`. */
export function randomCall(names: readonly string[]): fc.Arbitrary<Call> {
  const ready = new Map<string, fc.Arbitrary<Omit<Call, 'shape' | 'dtype'>>>();
  const ofName = (name: string): fc.Arbitrary<Omit<Call, 'shape' | 'dtype'>> => {
    let made = ready.get(name);
    if (made === undefined) {
      const forms = torch.schemas(name).map((schema) => plausible(name, schema));
      made = fc.oneof({ weight: 6, arbitrary: fc.oneof(...forms) }, { weight: 1, arbitrary: nonsense(name) });
      ready.set(name, made);
    }
    return made;
  };
  const call = fc.constantFrom(...names).chain(ofName);
  return fc.record({ shape, dtype, call }).map(({ call: rest, ...common }) => ({ ...common, ...rest }));
}

/** The arguments a call describes. */
export function buildArguments(call: Call): unknown[] {
  const args = call.args.map((spec) => build(spec, call));
  const names = Object.keys(call.keywords);
  if (names.length === 0) return args;
  const keywords: Record<string, unknown> = {};
  for (const name of names) {
    Object.defineProperty(keywords, name, { value: build(call.keywords[name]!, call), enumerable: true });
  }
  return [...args, keywords];
}

function build(spec: Spec, call: Call): unknown {
  if (spec === null || typeof spec !== 'object') return spec;
  if (Array.isArray(spec)) return spec.map((part) => build(part, call));
  if ('tensor' in spec) return buildTensor(spec.tensor, call);
  if ('special' in spec) return Number(spec.special);
  if ('big' in spec) return BigInt(spec.big);
  if ('dtype' in spec) return dtypes[spec.dtype as DTypeName];
  return buildJunk(spec.junk);
}

function buildTensor(spec: TensorSpec['tensor'], call: Call): torch.Tensor {
  const sizes = spec.shape ?? call.shape;
  const type = dtypes[spec.dtype ?? call.dtype];
  const count = sizes.reduce((a, b) => a * b, 1);
  const data = new Float64Array(count);
  let state = spec.seed;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = fillValue(spec.fill, state / 2 ** 32, type.isFloatingPoint || type.isComplex);
  }
  const x = torch.tensor(data).view(sizes).to(type);
  try {
    return inForm(x, spec.form);
  } catch {
    return x;
  }
}

function fillValue(fill: string, unit: number, fractions: boolean): number {
  switch (fill) {
    case 'zero':
      return 0;
    case 'large':
      return fractions ? unit * 1e30 : Math.floor(unit * 2 ** 40);
    case 'negative':
      return fractions ? unit * 4 - 3 : Math.floor(unit * 10) - 6;
    case 'nan':
      return fractions && unit > 0.7 ? Number.NaN : Math.floor(unit * 4);
    case 'random':
      return fractions ? unit : Math.floor(unit * 100);
    default:
      return fractions ? unit * 2 - 1 : Math.floor(unit * 3);
  }
}

function inForm(x: torch.Tensor, form: string): torch.Tensor {
  switch (form) {
    case 'transposed':
      return x.transpose(0, -1);
    case 'strided':
      return x.index('...', torch.slice(0, null, 2));
    case 'expanded':
      return x.expand([2, ...x.shape]);
    case 'grad':
      return x.requiresGrad_();
    case 'sparse':
      return x.to_sparse();
    case 'csr':
      return x.to_sparse_csr();
    case 'quantized':
      return torch.quantize_per_tensor(x.float(), 0.1, 2, torch.quint8) as torch.Tensor;
    case 'channel': {
      const channels = x.shape[0] ?? 0;
      return torch.quantize_per_channel(
        x.float(),
        torch.ones([channels]),
        torch.zeros([channels]),
        0,
        torch.qint8,
      );
    }
    case 'meta':
      return x.to('meta');
    case 'conj':
      return x._conj();
    case 'neg':
      return x._neg_view();
    case 'mkldnn':
      return x.to_mkldnn();
    case 'nested':
      return torch._nested_tensor_from_tensor_list([x, x]);
    case 'last':
      return x.contiguous({ memory_format: 'channels_last' });
    default:
      return x;
  }
}

function buildJunk(name: string): unknown {
  switch (name) {
    case 'symbol':
      return Symbol('s');
    case 'function':
      return () => 1;
    case 'object':
      return { a: 1 };
    case 'prototype':
      return Object.create(torch.Tensor.prototype);
    case 'disposed': {
      const x = torch.zeros([2]);
      x.dispose();
      return x;
    }
    case 'cyclic': {
      const list: unknown[] = [];
      list.push(list);
      return list;
    }
    case 'nested':
      return [[1, 2], [3]];
    case 'date':
      return new Date(0);
    case 'map':
      return new Map([[1, 2]]);
    case 'proxy':
      return new Proxy([1, 2], { get: (target, key) => (key === 'length' ? 1e9 : Reflect.get(target, key)) });
    case 'sparse array':
      return new Array(3);
    case 'long list':
      return new Array(100_000).fill(1);
    case 'typed array':
      return new Float32Array([1, Number.NaN]);
    case 'bigint list':
      return [1n, 2n];
    case 'huge bigint':
      return 2n ** 80n;
    case 'mixed list':
      return [1, 'a', null];
    case 'class':
      return torch.Tensor;
    case 'dtype prototype':
      return Object.assign(Object.create(torch.DType.prototype), { code: 1e9 });
    case 'throwing getter':
      return {
        get dim(): number {
          throw new Error('a getter threw');
        },
      };
    case 'generator':
      return new torch.Generator();
    default:
      return undefined;
  }
}
