/** Reading of PyTorch's checkpoint files: the zip format, and the one from before PyTorch 1.6. */

import { closeSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { ByteReader, readFully } from './byte-reader.js';
import { type Identified, identify } from './identify.js';
import { bufferFor, type PendingRead } from './memory.js';
import { TensorHost } from './tensor-host.js';
import { type UnpickleOptions, Unpickler } from './unpickler.js';
import { FileFormatError } from './values.js';
import { readZipDirectory, stored, type ZipEntry } from './zip-reader.js';

export interface LoadOptions {
  /** Objects of unknown classes become `PyOpaque`, inert data, instead of an error. Default: false. */
  opaque?: boolean;
  /** Integral floats become `PyFloat`, so that `save` writes them as floats again. Default: false, plain numbers. */
  keepFloats?: boolean;
}

/** A file whose structure is read and checked; its storages remain to be read. */
interface Parsed {
  value: unknown;
  host: TensorHost;
  reads: PendingRead[];
}

/** `data.pkl` describes tensors and holds none of their bytes. */
const maxPickleBytes = 1 << 28;
const legacyMagic = 0x1950a86a20f9469cfc6cn;

/** Content of a small entry, with its checksum verified. */
function readEntry(fd: number, entry: ZipEntry, limit: number): Buffer {
  stored(entry);
  if (entry.size > limit)
    throw new FileFormatError(`${entry.name} has ${entry.size} bytes, more than the ${limit} allowed`);
  const buffer = Buffer.allocUnsafe(entry.size);
  readFully(fd, buffer, entry.position);
  if (entry.crc32 !== 0 && crc32(buffer) !== entry.crc32) {
    throw new FileFormatError(`${entry.name} is damaged: its checksum does not agree`);
  }
  return buffer;
}

function parseZip(fd: number, size: number, options: UnpickleOptions): Parsed {
  const entries = readZipDirectory(fd, size);
  if (entries.has('constants.pkl')) {
    throw new FileFormatError(
      'a TorchScript archive (torch.jit.save), which is a program. In Python, save its weights: ' +
        'torch.save(torch.jit.load(path).state_dict(), new_path)',
    );
  }
  const pickle = entries.get('data.pkl');
  if (!pickle) throw new FileFormatError('a zip archive without data.pkl: not a file of torch.save');
  const order = entries.get('byteorder');
  if (order && readEntry(fd, order, 16).toString('latin1') !== 'little') {
    throw new FileFormatError(
      'written on a big-endian machine: load and save it again with PyTorch on this one',
    );
  }
  const content = (key: string): ZipEntry => {
    const entry = entries.get(`data/${key}`);
    if (!entry) throw new FileFormatError(`the storage ${JSON.stringify(key)} is not in the archive`);
    return stored(entry);
  };
  const host = new TensorHost(size, (key, bytes) => {
    const entry = content(key);
    if (bytes > entry.size) {
      throw new FileFormatError(
        `the storage ${JSON.stringify(key)} has ${entry.size} bytes where ${bytes} are needed`,
      );
    }
  });
  return guarded(host, () => {
    const value = new Unpickler(new ByteReader(readEntry(fd, pickle, maxPickleBytes)), host, options).load();
    const reads = [...host.reads].map(([key, read]) => {
      const entry = content(key);
      read.position = entry.position;
      if (entry.size === read.length) read.crc32 = entry.crc32;
      return read;
    });
    return { value, host, reads: reads.sort((a, b) => a.position - b.position) };
  });
}

/**
 * The format before PyTorch 1.6: pickles of a magic number, the format's version, facts on the machine, the object, and
 * the list of storages, then each storage as a 64-bit count of elements and their bytes.
 */
function parseLegacy(fd: number, size: number, options: UnpickleOptions): Parsed {
  const reader = new ByteReader({ fd, start: 0, end: size });
  const host = new TensorHost(size, () => {});
  return guarded(host, () => {
    const next = (): unknown => new Unpickler(reader, host, options).load();
    if (next() !== legacyMagic) {
      throw new FileFormatError(
        'a Python pickle, but not one of torch.save. In Python, save it with torch.save(…)',
      );
    }
    const version = next();
    if (version !== 1001) throw new FileFormatError(`the format's version ${String(version)} is unknown`);
    const machine = next();
    if (machine instanceof Map && machine.get('little_endian') === false) {
      throw new FileFormatError(
        'written on a big-endian machine: load and save it again with PyTorch on this one',
      );
    }
    const value = next();
    const keys = next();
    if (!Array.isArray(keys)) throw new FileFormatError('the list of storages is missing');
    const reads: PendingRead[] = [];
    let position = reader.position;
    for (const key of keys) {
      const read = host.reads.get(String(key));
      if (!read) throw new FileFormatError(`the storage ${JSON.stringify(String(key))} belongs to nothing`);
      if (position + 8 + read.length > size)
        throw new FileFormatError(`truncated: ${read.name} ends beyond the file`);
      const count = new ByteReader({ fd, start: position, end: position + 8 }).u64();
      read.position = position + 8;
      position += 8 + read.length;
      if (
        count > read.length ||
        (count > 0 && read.length % count !== 0) ||
        (count === 0 && read.length > 0)
      ) {
        throw new FileFormatError(
          `${read.name} has ${count} elements, which do not make ${read.length} bytes`,
        );
      }
      reads.push(read);
    }
    if (new Set(reads).size !== host.reads.size) throw new FileFormatError('some storages have no content');
    return { value, host, reads };
  });
}

function guarded<T>(host: TensorHost, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    host.dispose();
    throw error;
  }
}

function parse(fd: number, options: UnpickleOptions): Parsed {
  const file: Identified = identify(fd);
  if (file.kind === 'zip') return parseZip(fd, file.size, options);
  if (file.kind === 'pickle') return parseLegacy(fd, file.size, options);
  const hint = file.kind === 'safetensors' ? ': read it with loadSafetensors' : '';
  throw new FileFormatError(`not a PyTorch checkpoint: it looks like ${file.looksLike}${hint}`);
}

/** Puts the file's name before the message of whatever went wrong in it. */
export function nameFile(path: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  // Errors of the file system name it already.
  if ('syscall' in error && 'path' in error) return error;
  return new FileFormatError(`${path}: ${error.message}`, { cause: error });
}

/**
 * Reads a file of `torch.save`: `.pth`, `.pt`, in the zip format or the one before it. Nothing in the file is executed;
 * a name that is no plain data (`os.system`) is an error that says so.
 *
 * Dictionaries arrive as `Map` (`OrderedDict` where they are that), lists as arrays, tuples and `torch.Size` as
 * `PyTuple`, sets as `Set`, bytes as `Uint8Array`, None as null; ints and floats as numbers, ints beyond 2^53 as bigints,
 * numpy scalars as numbers. Tensors come to the CPU, whatever device they were saved from, and share memory where they
 * shared it when they were saved. While the promise is pending the event loop runs on.
 *
 * @throws FileFormatError, naming the file and what it looks like, if it is damaged or is something else.
 */
export async function load(path: string, options: LoadOptions = {}): Promise<unknown> {
  const file = await open(path, 'r');
  try {
    const { value, host, reads } = parse(file.fd, options);
    // The memory must outlive whatever scope is open now, since it is filled later.
    for (const read of reads) read.bytes.keep();
    for (const tensor of host.tensors) tensor.keep();
    try {
      const buffer = bufferFor(reads);
      for (const read of reads) await read.read(file, buffer);
    } catch (error) {
      host.dispose();
      throw error;
    }
    host.release();
    return value;
  } catch (error) {
    throw nameFile(path, error);
  } finally {
    await file.close();
  }
}

/** As `load`, at once. Tensors belong to the scope that is open. */
export function loadSync(path: string, options: LoadOptions = {}): unknown {
  const fd = openSync(path, 'r');
  try {
    const { value, host, reads } = parse(fd, options);
    guarded(host, () => {
      const buffer = bufferFor(reads);
      for (const read of reads) read.readSync(fd, buffer);
    });
    host.release();
    return value;
  } catch (error) {
    throw nameFile(path, error);
  } finally {
    closeSync(fd);
  }
}
