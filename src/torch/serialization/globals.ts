/**
 * The names a pickle may refer to, and what each of them makes here. Every one only arranges data: nothing is imported,
 * and no constructor outside this list can be reached from a file.
 */

import { storageClasses } from './dtypes.js';
import { FileFormatError, OrderedDict, PyOpaque, PyTuple } from './values.js';

/** What the values of a pickle become; the tensor side of the unpickler. */
export interface Host {
  /** The storage that a persistent id names: whatever `tensor` below takes. */
  storage(id: readonly unknown[]): unknown;
  tensor(storage: unknown, spec: TensorSpec): unknown;
  parameter(tensor: unknown, requiresGrad: boolean): unknown;
  /** The dtype object of this PyTorch name, or undefined when there is none. */
  dtype(name: string): unknown;
  device(type: string, index: number | undefined): unknown;
}

/** `size`, `stride` and `offset` in elements, as the file claims them. */
export interface TensorSpec {
  offset: number;
  size: number[];
  stride: number[];
  requiresGrad: boolean;
  /** The dtype's name where it is not the storage's own. */
  dtype: string | undefined;
}

/** What a name may use of the reading in progress. */
export interface Context {
  readonly host: Host;
  /** Counts work whose size is not bounded by the bytes read, and stops a file that asks for too much. */
  charge(values: number): void;
}

/** A Python name on the pickle's stack. Calling it is the only thing a file can do with it. */
export class PyGlobal {
  readonly name: string;
  readonly call: (args: readonly unknown[], context: Context) => unknown;

  constructor(name: string, call: (args: readonly unknown[], context: Context) => unknown) {
    this.name = name;
    this.call = call;
  }
}

/** A storage class, which stands for a dtype; `undefined` is the untyped one. */
export class StorageType extends PyGlobal {
  readonly dtype: string | undefined;

  constructor(name: string, dtype: string | undefined) {
    super(name, () => {
      throw new FileFormatError(`${name} is called directly, which only very old or damaged files do`);
    });
    this.dtype = dtype;
  }
}

class NumpyDtype {
  readonly code: string;
  bigEndian = false;

  constructor(code: string) {
    this.code = code;
  }
}

function expected(what: string, value: unknown): FileFormatError {
  const found = value === null ? 'None' : Array.isArray(value) ? 'a sequence' : typeof value;
  return new FileFormatError(`expected ${what}, found ${found}`);
}

export function asCount(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new FileFormatError(`${what} must be a non-negative integer, found ${describe(value)}`);
  }
  return value;
}

function describe(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return `${value}`;
  return value === null ? 'None' : typeof value;
}

/** More dimensions than libtorch itself handles are an attempt at something else. */
const maxDims = 64;

function asCounts(value: unknown, what: string): number[] {
  if (!Array.isArray(value)) throw expected(`a tuple as ${what}`, value);
  if (value.length > maxDims) throw new FileFormatError(`${what} has ${value.length} dimensions`);
  return value.map((item) => asCount(item, what));
}

function asText(value: unknown): string {
  if (typeof value !== 'string') throw expected('a string', value);
  return value;
}

function rebuildTensor(args: readonly unknown[], { host }: Context): unknown {
  const [storage, offset, size, stride, requiresGrad, , metadata] = args;
  refuseLazyBits(metadata);
  return host.tensor(storage, spec(offset, size, stride, requiresGrad, undefined));
}

function rebuildTensorV3(args: readonly unknown[], { host }: Context): unknown {
  const [storage, offset, size, stride, requiresGrad, , dtype, metadata] = args;
  refuseLazyBits(metadata);
  const name = (dtype as { name?: unknown } | null | undefined)?.name;
  if (typeof name !== 'string') throw expected('a dtype', dtype);
  return host.tensor(storage, spec(offset, size, stride, requiresGrad, name));
}

/** Lazy conjugation and negation change what the bytes mean. */
function refuseLazyBits(metadata: unknown): void {
  if (metadata === undefined || metadata === null) return;
  if (!(metadata instanceof Map)) throw expected('a dictionary as tensor metadata', metadata);
  for (const [key, value] of metadata) {
    if (value) throw new FileFormatError(`a tensor with the ${String(key)} bit set cannot be read`);
  }
}

function spec(
  offset: unknown,
  size: unknown,
  stride: unknown,
  requiresGrad: unknown,
  dtype: string | undefined,
): TensorSpec {
  const sizes = asCounts(size, 'a tensor size');
  const strides = asCounts(stride, 'a tensor stride');
  if (sizes.length !== strides.length) {
    throw new FileFormatError(`a tensor has ${sizes.length} sizes and ${strides.length} strides`);
  }
  return {
    offset: asCount(offset, 'a storage offset'),
    size: sizes,
    stride: strides,
    requiresGrad: requiresGrad === true,
    dtype,
  };
}

function toMap<M extends Map<unknown, unknown>>(map: M, args: readonly unknown[], context: Context): M {
  const [items] = args;
  if (items === undefined) return map;
  if (!Array.isArray(items) && !(items instanceof Map)) throw expected('pairs for a dictionary', items);
  context.charge(items instanceof Map ? items.size : items.length);
  for (const pair of items) {
    if (!Array.isArray(pair) || pair.length !== 2) throw expected('a pair for a dictionary', pair);
    map.set(pair[0], pair[1]);
  }
  return map;
}

function toSet(args: readonly unknown[], context: Context): Set<unknown> {
  const [items = []] = args;
  if (!Array.isArray(items)) throw expected('a list of set members', items);
  context.charge(items.length);
  return new Set(items);
}

/** `_codecs.encode(text, 'latin1')`: how protocol 2 spells bytes. */
function toBytes(args: readonly unknown[], context: Context): Uint8Array {
  const [text = '', encoding = 'latin1'] = args;
  if (text instanceof Uint8Array) return text;
  const name = asText(encoding).toLowerCase().replace(/[-_]/g, '');
  if (name !== 'latin1' && name !== 'utf8' && name !== 'ascii') {
    throw new FileFormatError(`bytes in the encoding ${JSON.stringify(encoding)} cannot be read`);
  }
  const string = asText(text);
  context.charge(string.length >> 3);
  const bytes = Buffer.from(string, name === 'utf8' ? 'utf8' : 'latin1');
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function numpyScalar(args: readonly unknown[]): unknown {
  const [dtype, raw] = args;
  if (!(dtype instanceof NumpyDtype)) throw expected('a numpy dtype', dtype);
  // Files of Python 2 hold the bytes as a string.
  const bytes = typeof raw === 'string' ? Buffer.from(raw, 'utf8') : raw;
  if (!(bytes instanceof Uint8Array)) throw expected('the bytes of a numpy scalar', raw);
  const width = Number(dtype.code.slice(1));
  if (bytes.length !== width) {
    throw new FileFormatError(`a numpy scalar of type ${dtype.code} has ${bytes.length} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = !dtype.bigEndian;
  switch (dtype.code) {
    case 'b1':
      return view.getUint8(0) !== 0;
    case 'i1':
      return view.getInt8(0);
    case 'u1':
      return view.getUint8(0);
    case 'i2':
      return view.getInt16(0, little);
    case 'u2':
      return view.getUint16(0, little);
    case 'i4':
      return view.getInt32(0, little);
    case 'u4':
      return view.getUint32(0, little);
    case 'i8':
      return integer(view.getBigInt64(0, little));
    case 'u8':
      return integer(view.getBigUint64(0, little));
    case 'f2':
      return half(view.getUint16(0, little));
    case 'f4':
      return view.getFloat32(0, little);
    case 'f8':
      return view.getFloat64(0, little);
  }
  throw new FileFormatError(`a numpy scalar of type ${JSON.stringify(dtype.code)} cannot be read`);
}

/** IEEE half precision. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** A Python int: a number where it is exact, else a bigint. */
export function integer(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

const unsupportedStorages = /^torch\.(cuda\.)?(Complex|Q[A-Z]|QUInt)\w*Storage$/;
const dtypeName =
  /^torch\.(float(16|32|64)|float8_\w+|float4_\w+|bfloat16|u?int\d+|bool|half|double|float|long|int|short|complex\d+|c?half|cfloat|cdouble|qint\d+|quint\w+)$/;

const table = new Map<string, PyGlobal>();

function define(name: string, call: PyGlobal['call']): void {
  table.set(name, new PyGlobal(name, call));
}

define('torch._utils._rebuild_tensor', rebuildTensor);
define('torch._utils._rebuild_tensor_v2', rebuildTensor);
define('torch._utils._rebuild_tensor_v3', rebuildTensorV3);
for (const name of ['_rebuild_parameter', '_rebuild_parameter_with_state']) {
  define(`torch._utils.${name}`, ([data, requiresGrad], { host }) =>
    host.parameter(data, requiresGrad === true),
  );
}
for (const name of ['torch.nn.parameter.Parameter', 'torch.nn.Parameter']) {
  define(name, ([data, requiresGrad = true], { host }) => host.parameter(data, requiresGrad === true));
}
// A tensor with Python attributes: the tensor is rebuilt as usual, the attributes are left out.
define('torch._tensor._rebuild_from_type_v2', ([rebuild, type, args], context) => {
  if (!(type instanceof PyGlobal) || !/^torch\.(Tensor|nn\.(parameter\.)?Parameter)$/.test(type.name)) {
    throw new FileFormatError('a tensor of a class of its own cannot be read');
  }
  if (!(rebuild instanceof PyGlobal) || !rebuild.name.startsWith('torch._utils._rebuild_')) {
    throw expected('a tensor rebuild function', rebuild);
  }
  if (!Array.isArray(args)) throw expected('a tuple of arguments', args);
  return rebuild.call(args, context);
});
define('torch.Tensor', () => {
  throw new FileFormatError('torch.Tensor is called directly, which only very old or damaged files do');
});
define('torch.Size', ([items = []], context) => {
  if (!Array.isArray(items)) throw expected('a tuple', items);
  context.charge(items.length);
  return new PyTuple(...items.map((item) => asCount(item, 'a size')));
});
define('torch.device', ([type, index], { host }) =>
  host.device(
    asText(type),
    index === undefined || index === null ? undefined : asCount(index, 'a device index'),
  ),
);
define('collections.OrderedDict', (args, context) => toMap(new OrderedDict(), args, context));
define('collections.Counter', (args, context) => toMap(new Map(), args, context));
// The factory of a defaultdict only matters to Python code that goes on using it.
define('collections.defaultdict', ([, ...rest], context) => toMap(new Map(), rest, context));
for (const builtins of ['builtins', '__builtin__']) {
  define(`${builtins}.set`, toSet);
  define(`${builtins}.frozenset`, toSet);
  define(`${builtins}.dict`, (args, context) => toMap(new Map(), args, context));
  define(`${builtins}.list`, ([items = []], context) => {
    if (!Array.isArray(items)) throw expected('a list', items);
    context.charge(items.length);
    return [...items];
  });
  define(`${builtins}.int`, ([value = 0]) => asNumber(value));
  define(`${builtins}.float`, ([value = 0]) => asNumber(value));
  define(`${builtins}.bytes`, toBytes);
  define(`${builtins}.bytearray`, toBytes);
}
define('_codecs.encode', toBytes);
define('numpy.dtype', ([code]) => new NumpyDtype(asText(code)));
for (const core of ['numpy.core', 'numpy._core']) define(`${core}.multiarray.scalar`, numpyScalar);
for (const [dtype, name] of Object.entries(storageClasses)) {
  for (const module of ['torch', 'torch.cuda', 'torch.storage']) {
    table.set(`${module}.${name}`, new StorageType(`${module}.${name}`, dtype));
  }
}
for (const name of ['torch.storage.UntypedStorage', 'torch.UntypedStorage', 'torch.cuda.UntypedStorage']) {
  table.set(name, new StorageType(name, undefined));
}

function asNumber(value: unknown): unknown {
  if (typeof value !== 'number' && typeof value !== 'bigint') throw expected('a number', value);
  return value;
}

/** Names for whose absence there is more to say than that they are unknown. */
const explained: ReadonlyArray<[RegExp, string]> = [
  [unsupportedStorages, 'quantized and complex tensors cannot be read'],
  [/^torch\._utils\._rebuild_qtensor$/, 'quantized tensors cannot be read'],
  [/^torch\._utils\._rebuild_sparse/, 'sparse tensors cannot be read'],
  [/^torch\._utils\._rebuild_(nested|meta|wrapper)/, 'nested, meta and wrapped tensors cannot be read'],
  [
    /^torch\._utils\._rebuild_device_tensor/,
    'tensors of foreign devices cannot be read; move them to the CPU',
  ],
  [/^torch\.distributed/, 'sharded tensors cannot be read; gather them first'],
  [/^(torch\.nn\.modules|torchvision|__torch__)\./, 'the file holds a whole module, not its state dict'],
];

/**
 * What the name `module.name` stands for.
 * @throws FileFormatError naming it, unless `opaque`, which gives inert data for every unknown name.
 */
export function resolveGlobal(module: string, name: string, host: Host, opaque: boolean): unknown {
  const full = `${module}.${name}`;
  const known = table.get(full);
  if (known) return known;
  if (dtypeName.test(full)) {
    const dtype = host.dtype(name);
    if (dtype !== undefined) return dtype;
    if (!opaque) throw new FileFormatError(`the dtype ${full} is not supported`);
  }
  // Python 2's way to make an object: reconstructor(class, object, None).
  if (/^copy_?reg\._reconstructor$/.test(full)) {
    return new PyGlobal(full, ([type], context) => {
      if (!(type instanceof PyGlobal)) throw expected('a class', type);
      return type.call([], context);
    });
  }
  if (opaque) return new PyGlobal(full, (args) => new PyOpaque(full, [...args]));
  const why = explained.find(([pattern]) => pattern.test(full))?.[1];
  throw new FileFormatError(
    `the file refers to ${JSON.stringify(full).slice(1, -1)}, which is not a name that data may use` +
      `${why ? ` (${why})` : ''}. Nothing in a file is executed. In Python, save tensors and plain values only, ` +
      'for instance torch.save(model.state_dict(), path); or load with { opaque: true }, which gives such objects as ' +
      'inert data',
  );
}

/** What BUILD does: gives an object its state. */
export function build(target: unknown, state: unknown): void {
  if (target instanceof PyOpaque) {
    target.state = state;
  } else if (target instanceof OrderedDict) {
    if (!(state instanceof Map)) throw expected('a dictionary as the state of an OrderedDict', state);
    target.attributes = new Map([...state].map(([key, value]) => [String(key), value]));
  } else if (target instanceof NumpyDtype) {
    if (!Array.isArray(state)) throw expected('a tuple as the state of a numpy dtype', state);
    target.bigEndian = state[1] === '>';
  } else {
    throw new FileFormatError(`a state is given to ${describe(target)}, which takes none`);
  }
}
