import { closeSync, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeError } from './torch/serialization/write-error.js';

/** A file that grows by whole pieces. The folder is made where there is none. */
export class AppendedFile {
  readonly path: string;
  readonly #fd: number;

  /** @param flags as of `fs.open`: `a`, or `ax` for a file that must be new */
  constructor(path: string, flags: 'a' | 'ax' = 'a') {
    this.path = path;
    try {
      mkdirSync(dirname(path), { recursive: true });
      this.#fd = openSync(path, flags);
    } catch (error) {
      throw writeError(path, error, 'Nothing there has changed');
    }
  }

  /**
   * Adds a piece, whole or not at all.
   *
   * @param options.sync whether it is on the disk when this returns, not only with the system. Default true.
   * @throws with the file's name and the way out; the file is as it was before
   */
  append(piece: string | Uint8Array, { sync = true }: { sync?: boolean } = {}): void {
    const bytes = Buffer.from(piece);
    const before = fstatSync(this.#fd).size;
    try {
      // A disk that is about to be full takes a part and says nothing.
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
      if (sync) fsyncSync(this.#fd);
    } catch (error) {
      if (fstatSync(this.#fd).size > before) ftruncateSync(this.#fd, before);
      throw writeError(this.path, error, 'What it held before is whole');
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}
