/**
 * The directory of a zip archive as PyTorch writes it: stored entries, zip64 where needed, all below one folder.
 * Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
 */

import { readFully } from './byte-reader.js';
import { FileFormatError } from './values.js';

/** One entry's content in the file. */
export interface ZipEntry {
  /** Name below the archive's folder, for instance `data/0`. */
  name: string;
  /** Position of the first byte of the content, and its length. */
  position: number;
  size: number;
  /** 0 where the writer left it out, as PyTorch can be told to. */
  crc32: number;
  /** PyTorch stores without compression, except for programs. */
  compressed: boolean;
}

const maxEntries = 1 << 20;
const endSize = 22;
const centralSize = 46;
const localSize = 30;

function damaged(what: string): FileFormatError {
  return new FileFormatError(`a damaged zip archive: ${what}`);
}

function u64(buffer: Buffer, at: number): number {
  const value = buffer.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`an impossible number, ${value}`);
  return Number(value);
}

/** Reads `[position, position + size)`, which must lie in the file. */
function slice(fd: number, fileSize: number, position: number, size: number): Buffer {
  if (position < 0 || position + size > fileSize)
    throw damaged(`refers to byte ${position + size} of ${fileSize}`);
  const buffer = Buffer.allocUnsafe(size);
  readFully(fd, buffer, position);
  return buffer;
}

/** Where the central directory lies. */
function findDirectory(fd: number, fileSize: number): { position: number; size: number; entries: number } {
  const tailSize = Math.min(fileSize, endSize + 0xffff);
  const tailAt = fileSize - tailSize;
  const tail = slice(fd, fileSize, tailAt, tailSize);
  let at = tail.length - endSize;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === 0x06054b50 && at + endSize + tail.readUInt16LE(at + 20) <= tailSize)
  ) {
    at--;
  }
  if (at < 0) {
    throw new FileFormatError(
      `a zip archive whose end is missing: it is truncated at ${fileSize} bytes (was a download or a copy cut short?)`,
    );
  }
  if (tail.readUInt16LE(at + 4) !== 0) throw damaged('it is split over several files');
  let entries = tail.readUInt16LE(at + 10);
  let size = tail.readUInt32LE(at + 12);
  let position = tail.readUInt32LE(at + 16);
  const locatorAt = tailAt + at - 20;
  if (locatorAt >= 0) {
    const locator = slice(fd, fileSize, locatorAt, 20);
    if (locator.readUInt32LE(0) === 0x07064b50) {
      const end64 = slice(fd, fileSize, u64(locator, 8), 56);
      if (end64.readUInt32LE(0) !== 0x06064b50)
        throw damaged('the zip64 end record is not where it should be');
      entries = u64(end64, 32);
      size = u64(end64, 40);
      position = u64(end64, 48);
    }
  }
  if (entries > maxEntries || size > entries * (centralSize + 3 * 0xffff))
    throw damaged(`${entries} entries`);
  return { position, size, entries };
}

/** The 64-bit values that stand in an extra field for those of 0xffffffff in the entry itself. */
function zip64Values(extra: Buffer): Buffer {
  for (let at = 0; at + 4 <= extra.length; ) {
    const size = extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === 1) return extra.subarray(at + 4, at + 4 + size);
    at += 4 + size;
  }
  return Buffer.alloc(0);
}

/** All entries, by their name below the archive's one folder. */
export function readZipDirectory(fd: number, fileSize: number): Map<string, ZipEntry> {
  const directory = findDirectory(fd, fileSize);
  const central = slice(fd, fileSize, directory.position, directory.size);
  const found = new Map<string, ZipEntry>();
  let folder: string | undefined;
  let at = 0;
  for (let i = 0; i < directory.entries; i++) {
    if (at + centralSize > central.length || central.readUInt32LE(at) !== 0x02014b50) {
      throw damaged(`entry ${i} of its directory is missing`);
    }
    const nameSize = central.readUInt16LE(at + 28);
    const extraSize = central.readUInt16LE(at + 30);
    const end = at + centralSize + nameSize + extraSize + central.readUInt16LE(at + 32);
    if (end > central.length) throw damaged(`entry ${i} of its directory is cut off`);
    const fullName = central.toString('utf8', at + centralSize, at + centralSize + nameSize);
    const wide = zip64Values(
      central.subarray(at + centralSize + nameSize, at + centralSize + nameSize + extraSize),
    );
    let wideAt = 0;
    const number = (offset: number): number => {
      const narrow = central.readUInt32LE(offset);
      if (narrow !== 0xffffffff || wideAt + 8 > wide.length) return narrow;
      wideAt += 8;
      return u64(wide, wideAt - 8);
    };
    const size = number(at + 24);
    const packed = number(at + 20);
    const headerAt = number(at + 42);
    const name = fullName.slice(fullName.indexOf('/') + 1);
    if (central.readUInt16LE(at + 8) & 1) throw damaged(`${fullName} is encrypted`);
    if (fullName.endsWith('/')) {
      at = end;
      continue;
    }
    folder ??= fullName.slice(0, fullName.indexOf('/') + 1);
    if (!fullName.startsWith(folder))
      throw new FileFormatError('a zip archive, but not one that PyTorch wrote');
    if (found.has(name)) throw damaged(`${fullName} is there twice`);
    const local = slice(fd, fileSize, headerAt, localSize);
    const position = headerAt + localSize + local.readUInt16LE(26) + local.readUInt16LE(28);
    if (local.readUInt32LE(0) !== 0x04034b50 || position + packed > directory.position) {
      throw damaged(`${fullName} is not where its directory says`);
    }
    const compressed = central.readUInt16LE(at + 10) !== 0 || packed !== size;
    found.set(name, { name, position, size, crc32: central.readUInt32LE(at + 16), compressed });
    at = end;
  }
  return found;
}

/** The entry, whose content can be read as it lies in the file. */
export function stored(entry: ZipEntry): ZipEntry {
  if (!entry.compressed) return entry;
  throw new FileFormatError(
    `${entry.name} is compressed. PyTorch stores without compression: the file was packed again by another program`,
  );
}
