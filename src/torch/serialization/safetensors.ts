/**
 * The safetensors format: a 64-bit length, a JSON header of that many bytes, and the tensors' bytes without gaps.
 * Source: the section "Format" of the README at https://github.com/huggingface/safetensors.
 */

import { closeSync, openSync } from 'node:fs';
import type { DType } from '../dtype.js';
import { Tensor } from '../tensor.js';
import { writeAtomicSync } from './atomic-file.js';
import { readFully } from './byte-reader.js';
import { dtypeFromSafetensors, safetensorsName } from './dtypes.js';
import { identify } from './identify.js';
import { duplicateKey } from './json-keys.js';
import { nameFile } from './load.js';
import { bytesOf, PendingRead, pieceBytes, storageView } from './memory.js';
import { FileFormatError } from './values.js';

/** Tensors by name, and the texts that came with them. */
export class SafetensorsMap extends Map<string, Tensor> {
  /** The header's `__metadata__`. */
  metadata = new Map<string, string>();
}

/** The format's own limit. */
const maxHeaderBytes = 100_000_000;

interface Described {
  name: string;
  dtype: DType;
  shape: number[];
  start: number;
  end: number;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** One tensor of the header, checked against itself. */
function describe(name: string, entry: unknown): Described {
  const broken = (why: string): FileFormatError =>
    new FileFormatError(`tensor ${JSON.stringify(name)}: ${why}`);
  if (!isRecord(entry)) throw broken('its description is not an object');
  const { dtype: dtypeName, shape, data_offsets: offsets } = entry;
  if (typeof dtypeName !== 'string') throw broken('it has no dtype');
  const dtype = dtypeFromSafetensors(dtypeName);
  if (!dtype) throw broken(`the dtype ${JSON.stringify(dtypeName)} is not supported`);
  if (!Array.isArray(shape) || shape.length > 64 || !shape.every(isCount))
    throw broken('its shape is malformed');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw broken('its data_offsets are malformed');
  }
  const [start, end] = offsets as [number, number];
  const bytes = shape.reduce((product, size) => product * size, dtype.itemsize);
  if (end < start || end - start !== bytes) {
    throw broken(
      `${dtypeName} of shape [${shape.join(', ')}] takes ${bytes} bytes, but it has ${end - start}`,
    );
  }
  if (shape.reduce((product, size) => product * Math.max(size, 1), 1) > Number.MAX_SAFE_INTEGER) {
    throw broken(`the shape [${shape.join(', ')}] is impossible`);
  }
  return { name, dtype, shape, start, end };
}

/** The header's tensors, in its order, and metadata. `dataBytes` is what follows the header. */
function parseHeader(
  text: string,
  dataBytes: number,
): { tensors: Described[]; metadata: Map<string, string> } {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    throw new FileFormatError(`its header is not JSON: ${(error as Error).message}`);
  }
  if (!isRecord(header)) throw new FileFormatError('its header is not an object');
  const twice = duplicateKey(text);
  if (twice !== undefined) throw new FileFormatError(`its header names ${JSON.stringify(twice)} twice`);
  const metadata = new Map<string, string>();
  const tensors: Described[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name !== '__metadata__') {
      tensors.push(describe(name, entry));
      continue;
    }
    if (!isRecord(entry)) throw new FileFormatError('__metadata__ is not an object');
    for (const [key, value] of Object.entries(entry)) {
      if (typeof value !== 'string') throw new FileFormatError(`__metadata__.${key} is not a string`);
      metadata.set(key, value);
    }
  }
  let at = 0;
  for (const { name, start, end } of [...tensors].sort((a, b) => a.start - b.start || a.end - b.end)) {
    if (start !== at) {
      const what = start < at ? 'overlaps the one before it' : `leaves ${start - at} bytes unused before it`;
      throw new FileFormatError(`tensor ${JSON.stringify(name)} ${what}`);
    }
    at = end;
  }
  if (at !== dataBytes) {
    const cut = at > dataBytes ? ': the file is truncated' : '';
    throw new FileFormatError(`its tensors take ${at} bytes, but ${dataBytes} follow the header${cut}`);
  }
  return { tensors, metadata };
}

function read(fd: number): SafetensorsMap {
  const file = identify(fd);
  const lengthField = Buffer.alloc(8);
  if (file.kind !== 'other' && file.kind !== 'safetensors') {
    throw new FileFormatError(
      `not a safetensors file: it looks like ${file.looksLike}. PyTorch files are read with load`,
    );
  }
  const wrong = (): FileFormatError => {
    const cut = file.size >= 8 && file.looksLike.startsWith('data') ? ' (or a truncated one)' : '';
    return new FileFormatError(`not a safetensors file${cut}: it looks like ${file.looksLike}`);
  };
  if (file.size < 8 || file.kind === 'other') {
    // An empty header `{}` is the one case that is too short to be recognised.
    if (file.size < 10) throw wrong();
  }
  readFully(fd, lengthField, 0);
  const length = lengthField.readBigUInt64LE(0);
  if (length > BigInt(file.size - 8) || file.kind === 'other') throw wrong();
  if (length > BigInt(maxHeaderBytes))
    throw new FileFormatError(`its header of ${length} bytes is too large`);
  const header = Buffer.allocUnsafe(Number(length));
  readFully(fd, header, 8);
  const dataAt = 8 + header.length;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(header);
  } catch {
    throw new FileFormatError('its header is not UTF-8');
  }
  const { tensors, metadata } = parseHeader(text, file.size - dataAt);
  const result = new SafetensorsMap();
  result.metadata = metadata;
  const buffer = new Uint8Array(Math.min(pieceBytes, Math.max(1, file.size - dataAt)));
  try {
    for (const { name, dtype, shape, start, end } of tensors) {
      const pending = new PendingRead(`tensor ${JSON.stringify(name)}`, end - start);
      try {
        pending.position = dataAt + start;
        pending.boolean = dtype.name === 'bool';
        pending.readSync(fd, buffer);
        const stride = shape.map((_, i) =>
          shape.slice(i + 1).reduce((product, size) => product * Math.max(size, 1), 1),
        );
        result.set(name, storageView(pending.bytes, dtype, 0, shape, stride));
      } finally {
        pending.bytes.dispose();
      }
    }
  } catch (error) {
    for (const tensor of result.values()) tensor.dispose();
    throw error;
  }
  return result;
}

/**
 * Reads a safetensors file: its tensors, on the CPU, in the header's order, and `metadata`.
 * @throws FileFormatError, naming the file and what it looks like, if it is damaged or is something else.
 */
export function loadSafetensors(path: string): SafetensorsMap {
  const fd = openSync(path, 'r');
  try {
    return read(fd);
  } catch (error) {
    throw nameFile(path, error);
  } finally {
    closeSync(fd);
  }
}

function* write(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: ReadonlyMap<string, string>,
): Generator<Uint8Array> {
  const entries = [...tensors].map(([name, tensor]) => {
    if (name === '__metadata__')
      throw new TypeError('saveSafetensors: a tensor cannot be named __metadata__');
    if (!(tensor instanceof Tensor))
      throw new TypeError(`saveSafetensors: ${JSON.stringify(name)} is not a tensor`);
    const { dtype, shape } = tensor;
    const dtypeName = safetensorsName(dtype);
    if (!dtypeName)
      throw new TypeError(`saveSafetensors: ${JSON.stringify(name)} has the dtype ${dtype.name}`);
    const bytes = shape.reduce((product, size) => product * size, dtype.itemsize);
    const entry = { dtype: dtypeName, shape, data_offsets: [0, 0] };
    return { name, tensor, entry, bytes, itemsize: dtype.itemsize };
  });
  // Wide elements first, so that every tensor is aligned; the header keeps the order of the map.
  const laidOut = [...entries].sort((a, b) => b.itemsize - a.itemsize);
  let at = 0;
  for (const { entry, bytes } of laidOut) {
    entry.data_offsets = [at, at + bytes];
    at += bytes;
  }
  const fields = entries.map(({ name, entry }) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  if (metadata.size > 0) fields.unshift(`"__metadata__":${JSON.stringify(Object.fromEntries(metadata))}`);
  const json = Buffer.from(`{${fields.join(',')}}`, 'utf8');
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' ');
  json.copy(padded);
  if (padded.length > maxHeaderBytes) throw new TypeError('saveSafetensors: too many tensors for one file');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length), 0);
  yield length;
  yield padded;
  for (const { tensor, bytes } of laidOut) {
    const local = tensor.detach().cpu();
    const dense = local.contiguous();
    yield* bytesOf(dense, bytes);
    dense.dispose();
    local.dispose();
  }
}

/**
 * Writes tensors, and texts if given, as a safetensors file, replacing `path` in one step. Tensors that share memory
 * are written apart, as the format has no sharing.
 *
 * @throws TypeError for a dtype that the format lacks.
 */
export function saveSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  path: string,
  metadata: Readonly<Record<string, string>> | ReadonlyMap<string, string> = {},
): void {
  const texts = metadata instanceof Map ? metadata : new Map(Object.entries(metadata));
  for (const [key, text] of texts) {
    if (typeof text !== 'string') throw new TypeError(`saveSafetensors: metadata.${key} is not a string`);
  }
  writeAtomicSync(path, write(tensors, texts));
}
