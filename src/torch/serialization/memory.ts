/** Storages of tensors as bytes: the one place where files and libtorch's memory meet. */

import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { DType } from '../dtype.js';
import { native } from '../native.js';
import { type Tensor, wrap } from '../tensor.js';
import { FileFormatError } from './values.js';

/**
 * Bytes that pass between file and tensor at a time, through a buffer that stays in the processor's cache. Lending the
 * tensor's own memory to JavaScript instead (an external ArrayBuffer each) is no faster, and what Node keeps of each
 * until the event loop turns scatters the heap.
 */
export const pieceBytes = 1 << 21;

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

/** The first `length` bytes of a contiguous CPU tensor, in pieces, each valid until the next is asked for. */
export function* bytesOf(tensor: Tensor, length: number): Generator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(length, pieceBytes));
  for (let at = 0; at < length; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, length - at));
    native.copyBytes(tensor.handle, at, piece, false);
    yield piece;
  }
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

  /** Fills the memory from the file; `buffer` is free to use, and not empty. */
  readSync(fd: number, buffer: Uint8Array): void {
    let crc = 0;
    for (let at = 0; at < this.length; ) {
      const wanted = Math.min(buffer.length, this.length - at);
      const count = readSync(fd, buffer, 0, wanted, this.position + at);
      crc = this.#take(buffer.subarray(0, count), at, crc);
      at += count;
    }
    this.#finish(crc);
  }

  async read(file: FileHandle, buffer: Uint8Array): Promise<void> {
    let crc = 0;
    for (let at = 0; at < this.length; ) {
      const wanted = Math.min(buffer.length, this.length - at);
      const { bytesRead } = await file.read(buffer, 0, wanted, this.position + at);
      crc = this.#take(buffer.subarray(0, bytesRead), at, crc);
      at += bytesRead;
    }
    this.#finish(crc);
  }

  #take(bytes: Uint8Array, at: number, crc: number): number {
    if (bytes.length === 0) throw this.#cutOff();
    if (this.boolean && bytes.some((byte) => byte > 1)) {
      throw new FileFormatError(`${this.name} holds booleans that are neither 0 nor 1`);
    }
    native.copyBytes(this.bytes.handle, at, bytes, true);
    return this.crc32 === 0 ? 0 : crc32(bytes, crc);
  }

  #finish(crc: number): void {
    if (crc !== this.crc32) throw new FileFormatError(`${this.name} is damaged: its checksum does not agree`);
  }

  #cutOff(): FileFormatError {
    return new FileFormatError(`the file ends in the middle of ${this.name}`);
  }
}

/** A buffer for `readSync` and `read` of these. */
export function bufferFor(reads: readonly PendingRead[]): Uint8Array {
  return new Uint8Array(reads.reduce((most, { length }) => Math.max(most, Math.min(length, pieceBytes)), 1));
}
