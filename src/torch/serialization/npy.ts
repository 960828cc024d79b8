/**
 * NumPy's file format: the magic string, a version, a header that is a Python dictionary, and one array's bytes.
 * Source: numpy.lib.format in NumPy's documentation, versions 1.0 to 3.0.
 */

import { closeSync, fstatSync, openSync } from 'node:fs';
import type { DType } from '../dtype.js';
import * as dtypes from '../dtype.js';
import type { Tensor } from '../tensor.js';
import { writeAtomicSync } from './atomic-file.js';
import { readFully } from './byte-reader.js';
import { nameFile } from './load.js';
import { bytesOf, PendingRead, pieceBytes, storageView } from './memory.js';
import { FileFormatError } from './values.js';

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');
/** The format aligns the data to this many bytes. */
const ALIGNMENT = 64;
const maxHeaderBytes = 1 << 20;

const byDescr = new Map<string, DType>([
  ['<f8', dtypes.float64],
  ['<f4', dtypes.float32],
  ['<f2', dtypes.float16],
  ['<i8', dtypes.int64],
  ['<i4', dtypes.int32],
  ['<i2', dtypes.int16],
  ['|i1', dtypes.int8],
  ['|u1', dtypes.uint8],
  ['<u2', dtypes.uint16],
  ['<u4', dtypes.uint32],
  ['<u8', dtypes.uint64],
  ['|b1', dtypes.bool],
]);
const descrs = new Map([...byDescr].map(([descr, dtype]) => [dtype, descr]));

interface Header {
  dtype: DType;
  /** Column by column instead of row by row. */
  fortran: boolean;
  shape: number[];
}

function parseHeader(text: string): Header {
  if (/'descr':\s*\[/.test(text)) throw new FileFormatError('it holds records, which are no tensor');
  const descr = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const shapeText = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
  if (descr === undefined || order === undefined || shapeText === undefined) {
    throw new FileFormatError(`its header cannot be read: ${text.trim().slice(0, 200)}`);
  }
  if (descr.includes('O')) throw new FileFormatError('it holds Python objects, which are never read');
  const dtype = byDescr.get(descr);
  if (!dtype) throw new FileFormatError(`its dtype '${descr}' is not supported; save it as float32 ('<f4')`);
  const shape = shapeText.split(',').flatMap((size) => (size.trim() === '' ? [] : [Number(size)]));
  return { dtype, fortran: order === 'True', shape };
}

function read(fd: number): Tensor {
  const { size } = fstatSync(fd);
  const start = Buffer.alloc(12);
  readFully(fd, start.subarray(0, Math.min(size, start.length)), 0);
  const major = start[6];
  if (!start.subarray(0, 6).equals(MAGIC) || major < 1 || major > 3) {
    throw new FileFormatError('not a .npy file of version 1 to 3');
  }
  const [length, headerAt] = major === 1 ? [start.readUInt16LE(8), 10] : [start.readUInt32LE(8), 12];
  const dataAt = headerAt + length;
  if (length > maxHeaderBytes || dataAt > size)
    throw new FileFormatError(`a header of ${length} bytes is impossible`);
  const header = Buffer.alloc(length);
  readFully(fd, header, headerAt);
  const { dtype, fortran, shape } = parseHeader(header.toString(major === 3 ? 'utf8' : 'latin1'));
  const bytes = shape.reduce((product, n) => product * n, dtype.itemsize);
  if (bytes !== size - dataAt) {
    throw new FileFormatError(
      `${dtype.name} of shape [${shape.join(', ')}] takes ${bytes} bytes, but ${size - dataAt} follow the header`,
    );
  }
  const pending = new PendingRead('the array', bytes);
  try {
    pending.position = dataAt;
    pending.boolean = dtype === dtypes.bool;
    pending.readSync(fd, new Uint8Array(Math.min(pieceBytes, Math.max(1, bytes))));
    const before = (i: number): number[] => (fortran ? shape.slice(0, i) : shape.slice(i + 1));
    const stride = shape.map((_, i) => before(i).reduce((product, n) => product * Math.max(n, 1), 1));
    return storageView(pending.bytes, dtype, 0, shape, stride);
  } finally {
    pending.bytes.dispose();
  }
}

/**
 * Reads the array of a `.npy` file, on the CPU, with the file's dtype.
 * @throws FileFormatError, naming the file, if it is damaged, something else, or of a dtype that tensors lack.
 */
export function loadNpy(path: string): Tensor {
  const fd = openSync(path, 'r');
  try {
    return read(fd);
  } catch (error) {
    throw nameFile(path, error);
  } finally {
    closeSync(fd);
  }
}

/**
 * A `.npy` file's bytes, in pieces.
 * @throws TypeError for a dtype that NumPy lacks, as bfloat16.
 */
export function npyBytes(tensor: Tensor): Iterable<Uint8Array> {
  const descr = descrs.get(tensor.dtype);
  if (!descr) throw new TypeError(`saveNpy: NumPy has no ${tensor.dtype.name}; convert it to float32 first`);
  return write(tensor, descr);
}

function* write(tensor: Tensor, descr: string): Generator<Uint8Array> {
  const { shape, dtype } = tensor;
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const total = Math.ceil((MAGIC.length + 4 + text.length + 1) / ALIGNMENT) * ALIGNMENT;
  const header = Buffer.alloc(total, ' ');
  MAGIC.copy(header);
  header.writeUInt16BE(0x0100, 6);
  header.writeUInt16LE(total - 10, 8);
  header.write(text, 10, 'latin1');
  header.write('\n', total - 1, 'latin1');
  yield header;
  const local = tensor.detach().cpu();
  const dense = local.contiguous();
  yield* bytesOf(
    dense,
    shape.reduce((product, n) => product * n, dtype.itemsize),
  );
  dense.dispose();
  local.dispose();
}

/**
 * Writes a tensor as a `.npy` file, which `numpy.load` reads, replacing `path` in one step.
 * @throws TypeError for a dtype that NumPy lacks, as bfloat16.
 */
export function saveNpy(tensor: Tensor, path: string): void {
  writeAtomicSync(path, npyBytes(tensor));
}
