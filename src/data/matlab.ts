import { readFileSync } from 'node:fs';
import { inflateSync } from 'node:zlib';

/** What a variable of a MATLAB file holds: numbers column by column, text row by row, or the cells of a cell array. */
export type MatlabValue =
  | { readonly kind: 'numbers'; readonly dims: readonly number[]; readonly values: number[] }
  | { readonly kind: 'text'; readonly rows: readonly string[] }
  | { readonly kind: 'cells'; readonly dims: readonly number[]; readonly cells: MatlabValue[] };

// Numbers of element types and array classes, from MathWorks, "MAT-File Format", level 5.
const MATRIX = 14;
const COMPRESSED = 15;
const CELL = 1;
const CHAR = 4;
const FIRST_NUMERIC = 6;
const LAST_NUMERIC = 15;
const COMPLEX_FLAG = 0x0800;
const HEADER_BYTES = 128;

type Reader = (view: DataView, at: number, little: boolean) => number;

/** Size and reader of each type of number (1 to 13) and of text (16 to 18). */
const TYPES: Record<number, [bytes: number, read: Reader]> = {
  1: [1, (view, at) => view.getInt8(at)],
  2: [1, (view, at) => view.getUint8(at)],
  3: [2, (view, at, little) => view.getInt16(at, little)],
  4: [2, (view, at, little) => view.getUint16(at, little)],
  5: [4, (view, at, little) => view.getInt32(at, little)],
  6: [4, (view, at, little) => view.getUint32(at, little)],
  7: [4, (view, at, little) => view.getFloat32(at, little)],
  9: [8, (view, at, little) => view.getFloat64(at, little)],
  12: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
  13: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
  17: [2, (view, at, little) => view.getUint16(at, little)],
  18: [4, (view, at, little) => view.getUint32(at, little)],
};
const UTF8 = 16;

interface Element {
  type: number;
  bytes: Uint8Array;
}

/**
 * Variables of a MATLAB file of level 5 (versions 5 to 7.2, compressed or not), by name: real numbers, text and cell
 * arrays of them. Variables of other kinds (structures, objects, sparse and complex matrices) are left out.
 *
 * Throws when the file is none, is damaged, or is of version 7.3 (which is HDF5).
 */
export function readMatlab(path: string): Map<string, MatlabValue> {
  const file = readFileSync(path);
  const fail = (message: string): never => {
    throw new Error(`'${path}' cannot be read as a MATLAB file: ${message}`);
  };
  if (file.subarray(0, HEADER_BYTES).toString('latin1').startsWith('MATLAB 7.3')) {
    fail('it is of version 7.3 (HDF5); save it with -v7');
  }
  const order = file.subarray(126, HEADER_BYTES).toString('latin1');
  if (order !== 'IM' && order !== 'MI') fail('it is of no version from 5 to 7.2');
  const little = order === 'IM';
  const variables = new Map<string, MatlabValue>();
  try {
    for (const { type, bytes } of elements(file.subarray(HEADER_BYTES), little)) {
      const inner = type === COMPRESSED ? [...elements(inflateSync(bytes), little)] : [{ type, bytes }];
      for (const one of inner) {
        if (one.type !== MATRIX) continue;
        const { name, value } = readMatrix(one.bytes, little);
        if (value !== undefined) variables.set(name, value);
      }
    }
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
  return variables;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The elements one after the other; those of at most four bytes share a word with their tag. */
function* elements(bytes: Uint8Array, little: boolean): Generator<Element> {
  const view = viewOf(bytes);
  for (let at = 0; at + 8 <= bytes.length; ) {
    const word = view.getUint32(at, little);
    const small = word >>> 16;
    const size = small > 0 ? small : view.getUint32(at + 4, little);
    const from = at + (small > 0 ? 4 : 8);
    if (from + size > bytes.length) throw new Error('it ends in the middle of a variable');
    const type = word & 0xffff;
    yield { type, bytes: bytes.subarray(from, from + size) };
    // All but compressed elements are padded to eight bytes.
    at = small > 0 ? at + 8 : from + (type === COMPRESSED ? size : Math.ceil(size / 8) * 8);
  }
}

function readNumbers({ type, bytes }: Element, little: boolean): number[] {
  const entry = TYPES[type];
  if (entry === undefined) throw new Error(`type ${type} is no type of numbers`);
  const [size, read] = entry;
  const view = viewOf(bytes);
  return Array.from({ length: Math.floor(bytes.length / size) }, (_, i) => read(view, i * size, little));
}

function readMatrix(bytes: Uint8Array, little: boolean): { name: string; value: MatlabValue | undefined } {
  const parts = [...elements(bytes, little)];
  if (parts.length < 3) return { name: '', value: undefined }; // an empty cell, for example
  const [flags] = readNumbers(parts[0], little);
  const dims = readNumbers(parts[1], little);
  const name = Buffer.from(parts[2].bytes).toString('latin1');
  const kind = flags & 0xff;
  const data = parts.slice(3);
  if (kind === CELL) {
    const cells = data.map((one): MatlabValue => {
      const inner = one.type === MATRIX ? readMatrix(one.bytes, little).value : undefined;
      return inner ?? { kind: 'numbers', dims: [0, 0], values: [] };
    });
    return { name, value: { kind: 'cells', dims, cells } };
  }
  if (kind === CHAR) return { name, value: { kind: 'text', rows: readText(data[0], dims[0], little) } };
  if (kind < FIRST_NUMERIC || kind > LAST_NUMERIC || (flags & COMPLEX_FLAG) !== 0) {
    return { name, value: undefined };
  }
  const values = data.length > 0 ? readNumbers(data[0], little) : [];
  return { name, value: { kind: 'numbers', dims, values } };
}

/** Characters lie column by column: those of `rows` lines, one of each line after the other. */
function readText(element: Element | undefined, rows: number, little: boolean): string[] {
  if (element === undefined || rows === 0) return [''];
  const { type, bytes } = element;
  const letters =
    type === UTF8
      ? [...Buffer.from(bytes).toString('utf8')]
      : readNumbers(element, little).map((code) => String.fromCodePoint(code));
  return Array.from({ length: rows }, (_, row) => letters.filter((_, i) => i % rows === row).join(''));
}
