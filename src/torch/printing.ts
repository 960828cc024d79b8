import { operator } from './dispatch.js';
import { float32 } from './dtype.js';
import { values } from './exchange.js';
import { scope } from './memory.js';
import { native } from './native.js';
import type { Tensor } from './tensor.js';

/** How tensors are printed; the names and defaults are those of PyTorch's `set_printoptions`. */
export interface PrintOptions {
  /** Digits after the decimal point. */
  precision: number;
  /** More elements than this are summarised. */
  threshold: number;
  /** Items shown at either end of a summarised dimension. */
  edgeitems: number;
  /** Characters a line. */
  linewidth: number;
  /** Scientific notation: always, never, or (null) where the values ask for it. */
  sciMode: boolean | null;
}

const cat = operator<(parts: Tensor[], dim: number) => Tensor>('cat');

// The bit of native.info()'s flags that says so.
const STRIDED = 8;

const options: PrintOptions = { precision: 4, threshold: 1000, edgeitems: 3, linewidth: 80, sciMode: null };

/** Changes how every tensor is printed from now on; options not named stay as they are. */
export function setPrintOptions(changes: Partial<PrintOptions>): void {
  const merged = { ...options, ...changes };
  for (const name of ['precision', 'threshold', 'edgeitems', 'linewidth'] as const) {
    const value = merged[name];
    const least = name === 'edgeitems' || name === 'linewidth' ? 1 : 0;
    const fine = name === 'threshold' ? value >= least : Number.isInteger(value) && value >= least;
    if (!fine || (name === 'precision' && value > 90)) throw new RangeError(`${name} cannot be ${value}`);
  }
  Object.assign(options, merged);
}

/** The options in force (a copy). */
export function getPrintOptions(): PrintOptions {
  return { ...options };
}

type Leaf = number | bigint | boolean;
type Nested = Leaf | Nested[];

// Every element of a tensor is padded to one width, whichever notation all of them share.
interface Format {
  width: number;
  show(value: Leaf): string;
}

/**
 * The text that Python's `repr(x)` gives: `tensor([[1., 2.], [3., 4.]], dtype=torch.float64)`. A tensor on an
 * accelerator is copied to the CPU, when large only the part that is shown.
 */
export function formatTensor(x: Tensor): string {
  const prefix = 'tensor(';
  const dtype = x.dtype.name;
  const device = String(x.device);
  const strided = layoutOf(x) === 'strided';
  const size = `size=${pythonTuple(x.shape)}`;
  const suffixes: string[] = [];
  if (x.device.type !== 'cpu') suffixes.push(`device='${device}'`);
  let body: string;
  if (x.device.type === 'meta') {
    suffixes.push(size);
    if (dtype !== 'float32') suffixes.push(`dtype=torch.${dtype}`);
    body = '...';
  } else if (x.numel() === 0 && strided) {
    // A one-dimensional [] says its own size; and no element says what an int64 is.
    if (x.dim() !== 1) suffixes.push(size);
    if (dtype !== 'float32') suffixes.push(`dtype=torch.${dtype}`);
    body = '[]';
  } else {
    if (!strided) suffixes.push(size);
    if (!['float32', 'complex64', 'int64', 'bool'].includes(dtype)) suffixes.push(`dtype=torch.${dtype}`);
    body = formatElements(x, prefix.length);
  }
  if (!strided) suffixes.push(`layout=torch.${layoutOf(x)}`);
  if (x.gradFnName) suffixes.push(`grad_fn=<${x.gradFnName}>`);
  else if (x.requiresGrad) suffixes.push('requires_grad=True');
  return appendSuffixes(prefix + body, suffixes, prefix.length);
}

function formatElements(x: Tensor, indent: number): string {
  const summarize = x.numel() > options.threshold;
  const complex = x.dtype.name.startsWith('complex');
  const shown = readValues(x, summarize, complex);
  const leaves: Leaf[] = [];
  collectLeaves(shown, leaves);
  const floating = !/^(u?int|bool|q)/.test(x.dtype.name);
  let width: number;
  let show: (values: Nested) => string;
  if (complex) {
    const real = chooseFormat(
      leaves.filter((_, i) => i % 2 === 0),
      floating,
    );
    const imaginary = chooseFormat(
      leaves.filter((_, i) => i % 2 === 1),
      floating,
    );
    width = real.width + imaginary.width + 1;
    show = (pair) => {
      const [re, im] = pair as [Leaf, Leaf];
      const tail = imaginary.show(im).trimStart();
      return `${real.show(re)}${tail.startsWith('-') ? '' : '+'}${tail}j`;
    };
  } else {
    const format = chooseFormat(leaves, floating);
    width = format.width;
    show = (value) => format.show(value as Leaf);
  }
  return layOut(shown, x.shape, 0, { indent, summarize, width, show });
}

interface Layout {
  indent: number;
  summarize: boolean;
  width: number;
  show: (values: Nested) => string;
}

function layOut(values: Nested, shape: readonly number[], depth: number, layout: Layout): string {
  const rank = shape.length - depth;
  if (rank === 0) return layout.show(values);
  const shown = (values as Nested[]).map((part) =>
    rank === 1 ? layout.show(part) : layOut(part, shape, depth + 1, layout),
  );
  const indent = layout.indent + depth;
  if (layout.summarize && shape[depth]! > 2 * options.edgeitems) {
    shown.splice(options.edgeitems, 0, rank === 1 ? ' ...' : '...');
  }
  const margin = ' '.repeat(indent + 1);
  if (rank > 1) return `[${shown.join(`,${'\n'.repeat(rank - 1)}${margin}`)}]`;
  const perLine = Math.max(1, Math.floor((options.linewidth - indent) / (layout.width + 2)));
  const lines: string[] = [];
  for (let i = 0; i < shown.length; i += perLine) lines.push(shown.slice(i, i + perLine).join(', '));
  return `[${lines.join(`,\n${margin}`)}]`;
}

// The elements to show as nested arrays, complex ones as pairs. Only what is shown leaves the device.
function readValues(x: Tensor, summarize: boolean, complex: boolean): Nested {
  return scope(() => {
    let t = x.detach();
    if (layoutOf(t) !== 'strided') t = t.to_dense();
    if (/^q/.test(t.dtype.name)) t = t.dequantize();
    t = t.resolve_conj().resolve_neg();
    const edge = options.edgeitems;
    for (let dim = 0; summarize && dim < x.dim(); dim++) {
      const size = x.shape[dim]!;
      if (size > 2 * edge) t = cat([t.narrow(dim, 0, edge), t.narrow(dim, size - edge, edge)], dim);
    }
    t = t.cpu();
    if (complex) t = t.view_as_real();
    // Every value of the small types is a float32 too.
    if (/^(b?float(16|8|4)|complex32)/.test(x.dtype.name)) t = t.to(float32);
    return t.toArray() as Nested;
  });
}

function chooseFormat(values: readonly Leaf[], floating: boolean): Format {
  if (!floating) {
    const show = (value: Leaf): string =>
      typeof value === 'boolean' ? (value ? 'True' : 'False') : String(value);
    return padded(show, values, 0);
  }
  const finite = (values as number[]).filter((value) => Number.isFinite(value) && value !== 0);
  const sizes = finite.map(Math.abs);
  const largest = sizes.reduce((a, b) => Math.max(a, b), 0);
  const smallest = sizes.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const scientific =
    finite.length > 0 && (options.sciMode ?? (largest / smallest > 1000 || largest > 1e8 || smallest < 1e-4));
  if (scientific)
    return padded(
      decorate((value) => exponential(value, options.precision)),
      finite,
      0,
    );
  if (finite.every(Number.isInteger)) {
    const integer = decorate((value) => `${fixed(value, 0)}.`);
    return padded(integer, finite, 0);
  }
  return padded(
    decorate((value) => fixed(value, options.precision)),
    finite,
    0,
  );
}

// What is not finite or zero does not widen the columns.
function padded(show: (value: Leaf) => string, measured: readonly Leaf[], least: number): Format {
  const width = measured.reduce(
    (most: number, value) => Math.max(most, show(value).length),
    Math.max(1, least),
  );
  return { width, show: (value) => show(value).padStart(width) };
}

function decorate(show: (value: number) => string): (value: Leaf) => string {
  return (leaf) => {
    const value = leaf as number;
    if (Number.isNaN(value)) return 'nan';
    if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
    return value < 0 || Object.is(value, -0) ? `-${show(Math.abs(value))}` : show(value);
  };
}

// Python rounds a decimal that lies exactly half-way to the even digit, JavaScript away from zero.
function fixed(value: number, digits: number): string {
  if (value >= 1e21) return digits === 0 ? String(BigInt(value)) : `${BigInt(value)}.${'0'.repeat(digits)}`;
  const up = value.toFixed(digits);
  // k / 2^(digits + 1) with an odd k: these and no others are half-way.
  const halfway = (value * 2 ** (digits + 1)) % 2 === 1;
  return halfway ? nearestEven(value.toFixed(digits + 1), up) : up;
}

function exponential(value: number, digits: number): string {
  const [up, exponent] = value.toExponential(digits).split('e') as [string, string];
  const [longer] = value.toExponential(digits + 1).split('e') as [string];
  // A hundred digits are more than the nearest double to a half-way decimal needs to differ from it.
  const tail = longer.endsWith('5')
    ? value
        .toExponential(100)
        .split('e')[0]!
        .slice(digits + 3)
    : '1';
  const mantissa = /^0*$/.test(tail) ? nearestEven(longer, up) : up;
  return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`;
}

// `longer` ends in the 5 that is to be rounded away, `up` is it rounded up.
function nearestEven(longer: string, up: string): string {
  const down = longer.replace(/\.?5$/, '');
  return /[02468]$/.test(down) ? down : up;
}

function collectLeaves(values: Nested, leaves: Leaf[]): void {
  if (Array.isArray(values)) for (const part of values) collectLeaves(part, leaves);
  else leaves.push(values);
}

const layouts: readonly [name: string, probe: (x: Tensor) => Tensor][] = [
  ['sparse_coo', operator('_indices')],
  ['sparse_csr', operator('crow_indices')],
  ['sparse_csc', operator('ccol_indices')],
];

function layoutOf(x: Tensor): string {
  values[0] = x.handle;
  native.info();
  if ((values[3]! & STRIDED) !== 0) return 'strided';
  // libtorch has no operator that names a layout: each of them answers a question that the others refuse.
  for (const [name, probe] of layouts) {
    try {
      probe(x).dispose();
      return name;
    } catch {}
  }
  return '_mkldnn';
}

function pythonTuple(sizes: readonly number[]): string {
  return `(${sizes.join(', ')}${sizes.length === 1 ? ',' : ''})`;
}

function appendSuffixes(body: string, suffixes: readonly string[], indent: number): string {
  let text = body;
  // PyTorch counts the last line two characters too long; the line breaks depend on it.
  let length = body.length - body.lastIndexOf('\n') + 1;
  for (const suffix of suffixes) {
    if (length + suffix.length + 2 > options.linewidth) {
      text += `,\n${' '.repeat(indent)}${suffix}`;
      length = indent + suffix.length;
    } else {
      text += `, ${suffix}`;
      length += suffix.length + 2;
    }
  }
  return `${text})`;
}
