/** What a file seems to be, for messages about files that are not what was asked for. */

import { fstatSync, readSync } from 'node:fs';

export type FileKind = 'zip' | 'pickle' | 'safetensors' | 'other';

export interface Identified {
  kind: FileKind;
  /** For a message: "looks like …, so …". */
  looksLike: string;
  size: number;
}

const signatures: ReadonlyArray<[string, string]> = [
  ['\x1f\x8b', 'gzip data; unpack it first'],
  ['BZh', 'bzip2 data; unpack it first'],
  ['\xfd7zXZ', 'xz data; unpack it first'],
  ['\x28\xb5\x2f\xfd', 'zstd data; unpack it first'],
  ['7z\xbc\xaf', 'a 7z archive; unpack it first'],
  ['Rar!', 'a RAR archive; unpack it first'],
  ['\x89HDF', 'an HDF5 file (Keras?)'],
  ['\x93NUMPY', 'a NumPy array'],
  ['\x89PNG', 'a PNG image'],
  ['\xff\xd8\xff', 'a JPEG image'],
  ['%PDF', 'a PDF document'],
  ['\x7fELF', 'a program'],
];

/** Looks at the beginning of an open file. */
export function identify(fd: number): Identified {
  const { size } = fstatSync(fd);
  const head = Buffer.alloc(512);
  const length = readSync(fd, head, 0, head.length, 0);
  const bytes = head.subarray(0, length);
  const text = bytes.toString('latin1');
  const is = (kind: FileKind, looksLike: string): Identified => ({ kind, looksLike, size });
  if (length === 0) return is('other', 'an empty file');
  if (text.startsWith('PK\x03\x04') || text.startsWith('PK\x05\x06')) return is('zip', 'a zip archive');
  if (text.startsWith('version https://git-lfs')) {
    return is('other', 'a Git LFS pointer, not the file itself; fetch that with `git lfs pull`');
  }
  if (/^\s*<(!doctype|html|head|\?xml)/i.test(text)) {
    return is('other', 'a web page; the download gave a page instead of the file');
  }
  for (const [signature, name] of signatures) {
    if (text.startsWith(signature)) return is('other', name);
  }
  if (text.slice(257, 262) === 'ustar') return is('other', 'a tar archive');
  if (length >= 10 && bytes[8] === 0x7b && bytes.readBigUInt64LE(0) <= BigInt(size - 8)) {
    return is('safetensors', 'a safetensors file');
  }
  if (bytes[0] === 0x80 && (bytes[1] ?? 9) <= 5) return is('pickle', 'a Python pickle');
  if (bytes.every((byte) => byte >= 0x20 || (byte >= 9 && byte <= 13))) {
    const start = JSON.stringify(bytes.toString('utf8').trim().slice(0, 40));
    return is('other', `text, beginning ${start}`);
  }
  return is(
    'other',
    `data of unknown kind, beginning with the bytes ${bytes.subarray(0, 8).toString('hex')}`,
  );
}
