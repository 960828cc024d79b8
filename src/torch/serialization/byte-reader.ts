/** Sequential reading of a file's stretch, or of a buffer, that cannot run past its end. */

import { readSync } from 'node:fs';
import { FileFormatError } from './values.js';

const windowBytes = 1 << 16;

/** Reads `length` bytes at `position` into `target`, however many calls that takes. */
export function readFully(fd: number, target: Uint8Array, position: number): void {
  let done = 0;
  while (done < target.length) {
    const n = readSync(fd, target, done, target.length - done, position + done);
    if (n === 0)
      throw new FileFormatError(`the file ends at byte ${position + done}, in the middle of its data`);
    done += n;
  }
}

export class ByteReader {
  #window: Buffer;
  #at = 0;
  /** Position of the window's first byte in the file. */
  #base: number;
  readonly #fd: number;
  readonly #end: number;

  /** Over bytes in memory, or over `[start, end)` of an open file. */
  constructor(source: Buffer | { fd: number; start: number; end: number }) {
    if (Buffer.isBuffer(source)) {
      this.#window = source;
      this.#base = 0;
      this.#end = source.length;
      this.#fd = -1;
    } else {
      this.#window = Buffer.alloc(0);
      this.#base = source.start;
      this.#end = source.end;
      this.#fd = source.fd;
    }
  }

  /** Position of the next byte. */
  get position(): number {
    return this.#base + this.#at;
  }

  get remaining(): number {
    return this.#end - this.position;
  }

  /** Makes `n` bytes available in the window. Checked against the end before anything is allocated. */
  #need(n: number): void {
    if (this.#window.length - this.#at >= n) return;
    if (n > this.remaining) {
      throw new FileFormatError(`the data ends at byte ${this.#end} where ${n} more bytes were announced`);
    }
    // A fresh buffer, as views of the old one may still be in use.
    const next = Buffer.allocUnsafe(Math.min(Math.max(n, windowBytes), this.remaining));
    const kept = this.#window.copy(next, 0, this.#at);
    readFully(this.#fd, next.subarray(kept), this.position + kept);
    this.#base += this.#at;
    this.#at = 0;
    this.#window = next;
  }

  #take(n: number): number {
    this.#need(n);
    const at = this.#at;
    this.#at += n;
    return at;
  }

  u8(): number {
    const at = this.#take(1);
    return this.#window[at] as number;
  }

  u16(): number {
    const at = this.#take(2);
    return this.#window.readUInt16LE(at);
  }

  i32(): number {
    const at = this.#take(4);
    return this.#window.readInt32LE(at);
  }

  u32(): number {
    const at = this.#take(4);
    return this.#window.readUInt32LE(at);
  }

  /** A 64-bit count. One beyond 2^53 cannot be meant and is an error. */
  u64(): number {
    const at = this.#take(8);
    const value = this.#window.readBigUInt64LE(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new FileFormatError(`an impossible length, ${value}, at byte ${this.position - 8}`);
    }
    return Number(value);
  }

  /** Big-endian float64, as pickle writes it. */
  f64(): number {
    const at = this.#take(8);
    return this.#window.readDoubleBE(at);
  }

  /** The next `n` bytes, a view that stays valid. */
  bytes(n: number): Buffer {
    const at = this.#take(n);
    return this.#window.subarray(at, at + n);
  }

  /** Bytes up to the next newline, which is consumed and not returned. */
  line(limit = 1 << 20): Buffer {
    for (let want = 256; ; want *= 2) {
      this.#need(Math.min(want, this.remaining));
      const found = this.#window.indexOf(10, this.#at);
      if (found >= 0) {
        const line = this.#window.subarray(this.#at, found);
        this.#at = found + 1;
        return line;
      }
      if (want >= this.remaining || want > limit) {
        throw new FileFormatError(`no end of line within reach at byte ${this.position}`);
      }
    }
  }
}
