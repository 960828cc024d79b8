/** Makes the tensors that an unpickled file describes, as views of storages that are read afterwards. */

import { Device } from '../device.js';
import type { DType } from '../dtype.js';
import { Parameter } from '../nn/parameter.js';
import { Tensor } from '../tensor.js';
import { dtypeNamed } from './dtypes.js';
import { asCount, type Host, StorageType, type TensorSpec } from './globals.js';
import { PendingRead, storageView } from './memory.js';
import { FileFormatError } from './values.js';

/** What a persistent id names: memory, and the dtype and place from which a tensor in it counts. */
class StorageRef {
  readonly read: PendingRead;
  readonly dtype: string | undefined;
  readonly start: number;

  constructor(read: PendingRead, dtype: string | undefined, start: number) {
    this.read = read;
    this.dtype = dtype;
    this.start = start;
  }
}

/** Reads a persistent id, `('storage', class, key, location, count[, view])`. The location is ignored: all goes to the CPU. */
export class TensorHost implements Host {
  /** Storages in the order in which the file names them, by key. */
  readonly reads = new Map<string, PendingRead>();
  /** Tensors made so far. */
  readonly tensors: Tensor[] = [];
  readonly #available: (key: string, bytes: number) => void;
  readonly #budget: number;
  #bytes = 0;

  /**
   * @param fileSize no file holds more bytes of storages than this
   * @param available throws when the storage `key` cannot have this many bytes
   */
  constructor(fileSize: number, available: (key: string, bytes: number) => void) {
    this.#budget = fileSize;
    this.#available = available;
  }

  storage(id: readonly unknown[]): StorageRef {
    const [kind, type, rawKey, , count, view] = id;
    if (kind === 'module') throw new FileFormatError('the file holds a whole module, not its state dict');
    if (kind !== 'storage') throw new FileFormatError('a persistent id that names no storage');
    if (!(type instanceof StorageType)) throw new FileFormatError('a storage without a storage class');
    if (typeof rawKey !== 'string' && typeof rawKey !== 'number')
      throw new FileFormatError('a storage without a key');
    const key = String(rawKey);
    const itemsize = type.dtype === undefined ? 1 : (dtypeNamed(type.dtype)?.itemsize ?? 1);
    const bytes = asCount(count, 'the size of a storage') * itemsize;
    let read = this.reads.get(key);
    if (!read) {
      this.#available(key, bytes);
      this.#bytes += bytes;
      if (this.#bytes > this.#budget) {
        throw new FileFormatError(
          `storages of ${this.#bytes} bytes in a file of ${this.#budget}: it is truncated or damaged`,
        );
      }
      read = new PendingRead(`storage ${JSON.stringify(key)}`, bytes);
      this.reads.set(key, read);
    } else if (bytes > read.length) {
      throw new FileFormatError(`the storage ${JSON.stringify(key)} is named with two sizes`);
    }
    let start = 0;
    if (Array.isArray(view)) start = asCount(view[1], 'the start of a storage view');
    return new StorageRef(read, type.dtype, start);
  }

  tensor(storage: unknown, spec: TensorSpec): Tensor {
    if (!(storage instanceof StorageRef)) throw new FileFormatError('a tensor without a storage');
    const name = spec.dtype ?? storage.dtype ?? 'uint8';
    const dtype = dtypeNamed(name);
    if (!dtype) throw new FileFormatError(`tensors of dtype ${name} are not supported`);
    const { size, stride } = spec;
    if (size.reduce((product, n) => product * Math.max(n, 1), 1) > Number.MAX_SAFE_INTEGER) {
      throw new FileFormatError(`a tensor of the impossible size [${size.join(', ')}]`);
    }
    let tensor: Tensor;
    try {
      tensor = storageView(storage.read.bytes, dtype, storage.start + spec.offset, size, stride);
    } catch (error) {
      const shape = `size [${size.join(', ')}], stride [${stride.join(', ')}], offset ${spec.offset}`;
      const reason = error instanceof Error ? error.message : String(error);
      throw new FileFormatError(`a tensor that does not fit ${storage.read.name} (${shape}): ${reason}`, {
        cause: error,
      });
    }
    if (name === 'bool') storage.read.boolean = true;
    this.tensors.push(tensor);
    if (spec.requiresGrad) tensor.requiresGrad_(true);
    return tensor;
  }

  parameter(tensor: unknown, requiresGrad: boolean): Tensor {
    if (!(tensor instanceof Tensor)) throw new FileFormatError('a parameter without a tensor');
    const parameter = new Parameter(tensor, requiresGrad);
    this.tensors.push(parameter);
    return parameter;
  }

  dtype(name: string): DType | undefined {
    return dtypeNamed(name);
  }

  device(type: string, index: number | undefined): Device {
    return new Device(type, index);
  }

  /** Gives up everything, after an error. */
  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose();
    this.release();
  }

  /** Gives up the handles on whole storages; the tensors hold their memory. */
  release(): void {
    for (const read of this.reads.values()) read.bytes.dispose();
  }
}
