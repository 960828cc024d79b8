/** Storages of tensors as bytes: the one place where files and libtorch's memory meet. */

import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { DType } from '../dtype.js';
import { native } from '../native.js';
import { type Tensor, wrap } from '../tensor.js';
import { FileFormatError } from './values.js';

/** Bytes that are read or written in one piece. */
const pieceBytes = 1 << 26;

/** Lends a stretch of a tensor's own memory to `use`, which must not keep it. */
function withBytes<R>(tensor: Tensor, start: number, length: number, use: (bytes: Uint8Array) => R): R {
  const buffer = native.borrowBytes(tensor.handle, start, length);
  try {
    return use(new Uint8Array(buffer));
  } finally {
    native.releaseBytes(buffer);
  }
}

/** A new tensor over the memory of `tensor`; offset, sizes and strides in elements of `dtype`, checked. */
export function storageView(
  tensor: Tensor,
  dtype: DType,
  offset: number,
  size: readonly number[],
  stride: readonly number[],
): Tensor {
  return wrap(native.asStorageView(tensor.handle, dtype.code, offset, size, stride));
}

/** Which memory `tensor` lies in (equal keys: the same), how large that is, and where in it the tensor begins. */
export function storageOf(tensor: Tensor): { key: number; bytes: number; offset: number } {
  const [key, bytes, offset] = native.storage(tensor.handle);
  return { key: key as number, bytes: bytes as number, offset: offset as number };
}

/** The pieces of a contiguous CPU tensor's memory, front to back, each valid until the next is asked for. */
export function* bytesOf(tensor: Tensor, length: number): Generator<Uint8Array> {
  for (let at = 0; at < length; at += pieceBytes) {
    const buffer = native.borrowBytes(tensor.handle, at, Math.min(pieceBytes, length - at));
    try {
      yield new Uint8Array(buffer);
    } finally {
      native.releaseBytes(buffer);
    }
  }
}

export function crc32Of(tensor: Tensor, length: number): number {
  let crc = 0;
  for (const bytes of bytesOf(tensor, length)) crc = crc32(bytes, crc);
  return crc;
}

/** A stretch of the file that is to fill a tensor's memory from its start. */
export class PendingRead {
  readonly bytes: Tensor;
  readonly name: string;
  readonly length: number;
  position = 0;
  /** Expected CRC-32 of the stretch; 0 when there is none. */
  crc32 = 0;
  /** Whether the bytes become booleans, of which libtorch expects 0 and 1 only. */
  boolean = false;

  /** Allocates `length` bytes, which `readSync` or `read` fill. */
  constructor(name: string, length: number) {
    this.name = name;
    this.length = length;
    this.bytes = wrap(native.allocateBytes(length));
  }

  readSync(fd: number): void {
    let crc = 0;
    for (let at = 0; at < this.length; at += pieceBytes) {
      withBytes(this.bytes, at, Math.min(pieceBytes, this.length - at), (bytes) => {
        for (let done = 0; done < bytes.length; ) {
          const count = readSync(fd, bytes, done, bytes.length - done, this.position + at + done);
          if (count === 0) throw this.#cutOff();
          done += count;
        }
        crc = this.#check(bytes, crc);
      });
    }
    this.#compare(crc);
  }

  async read(file: FileHandle): Promise<void> {
    let crc = 0;
    for (let at = 0; at < this.length; at += pieceBytes) {
      const buffer = native.borrowBytes(this.bytes.handle, at, Math.min(pieceBytes, this.length - at));
      try {
        const bytes = new Uint8Array(buffer);
        for (let done = 0; done < bytes.length; ) {
          const { bytesRead } = await file.read(bytes, done, bytes.length - done, this.position + at + done);
          if (bytesRead === 0) throw this.#cutOff();
          done += bytesRead;
        }
        crc = this.#check(bytes, crc);
      } finally {
        native.releaseBytes(buffer);
      }
    }
    this.#compare(crc);
  }

  #check(bytes: Uint8Array, crc: number): number {
    if (this.boolean && bytes.some((byte) => byte > 1)) {
      throw new FileFormatError(`${this.name} holds booleans that are neither 0 nor 1`);
    }
    return this.crc32 === 0 ? 0 : crc32(bytes, crc);
  }

  #compare(crc: number): void {
    if (crc !== this.crc32) throw new FileFormatError(`${this.name} is damaged: its checksum does not agree`);
  }

  #cutOff(): FileFormatError {
    return new FileFormatError(`the file ends in the middle of ${this.name}`);
  }
}
