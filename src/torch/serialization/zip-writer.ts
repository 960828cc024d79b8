/**
 * Writing of zip archives as PyTorch writes them: stored entries whose content begins at a multiple of 64 bytes, so that
 * it can be mapped into memory. Source: PKWARE's APPNOTE.TXT 6.3.10; the padding field is PyTorch's.
 */

const alignment = 64;
const max32 = 0xffffffff;
/** Names are UTF-8; checksums follow the contents. */
const flags = 0x0808;

interface Written {
  name: Buffer;
  crc32: number;
  size: number;
  position: number;
}

/** A zip64 extra field with these values, or nothing. */
function zip64Field(values: readonly number[]): Buffer {
  if (values.length === 0) return Buffer.alloc(0);
  const field = Buffer.alloc(4 + values.length * 8);
  field.writeUInt16LE(1, 0);
  field.writeUInt16LE(values.length * 8, 2);
  values.forEach((value, i) => {
    field.writeBigUInt64LE(BigInt(value), 4 + i * 8);
  });
  return field;
}

/** Lays out an archive that is written front to back. The caller writes what it returns, and the contents. */
export class ZipLayout {
  readonly #written: Written[] = [];
  #at = 0;

  /** The header of an entry of `size` bytes; the content must follow at once, and then `endEntry`. */
  begin(name: string, size: number): Buffer {
    const encoded = Buffer.from(name, 'utf8');
    // The checksum follows the content, so that large contents are passed over once.
    const wide = size >= max32 ? zip64Field([size, size]) : Buffer.alloc(0);
    // PyTorch's padding: an extra field "FB" filled with Z.
    const unpadded = this.#at + 30 + encoded.length + wide.length + 4;
    const padding = Buffer.alloc(4 + ((alignment - (unpadded % alignment)) % alignment), 'Z');
    padding.write('FB', 0, 'latin1');
    padding.writeUInt16LE(padding.length - 4, 2);
    const fixed = Buffer.alloc(30);
    fixed.writeUInt32LE(0x04034b50, 0);
    fixed.writeUInt16LE(wide.length > 0 ? 45 : 20, 4);
    fixed.writeUInt16LE(flags, 6);
    fixed.writeUInt16LE(0x21, 12); // 1 January 1980, so that equal contents make equal files
    fixed.writeUInt32LE(Math.min(size, max32), 18);
    fixed.writeUInt32LE(Math.min(size, max32), 22);
    fixed.writeUInt16LE(encoded.length, 26);
    fixed.writeUInt16LE(wide.length + padding.length, 28);
    const header = Buffer.concat([fixed, encoded, wide, padding]);
    this.#written.push({ name: encoded, crc32: 0, size, position: this.#at });
    this.#at += header.length + size;
    return header;
  }

  /** What follows the content of the entry begun last. */
  endEntry(crc32: number): Buffer {
    const entry = this.#written[this.#written.length - 1] as Written;
    entry.crc32 = crc32;
    const wide = entry.size >= max32;
    const descriptor = Buffer.alloc(wide ? 24 : 16);
    descriptor.writeUInt32LE(0x08074b50, 0);
    descriptor.writeUInt32LE(crc32, 4);
    if (wide) {
      descriptor.writeBigUInt64LE(BigInt(entry.size), 8);
      descriptor.writeBigUInt64LE(BigInt(entry.size), 16);
    } else {
      descriptor.writeUInt32LE(entry.size, 8);
      descriptor.writeUInt32LE(entry.size, 12);
    }
    this.#at += descriptor.length;
    return descriptor;
  }

  /** The directory, which ends the file. */
  end(): Buffer {
    const parts: Buffer[] = [];
    for (const { name, crc32, size, position } of this.#written) {
      const wideSize = size >= max32;
      const widePosition = position >= max32;
      const wide = zip64Field([...(wideSize ? [size, size] : []), ...(widePosition ? [position] : [])]);
      const fixed = Buffer.alloc(46);
      fixed.writeUInt32LE(0x02014b50, 0);
      fixed.writeUInt16LE(wide.length > 0 ? 45 : 20, 4);
      fixed.writeUInt16LE(wide.length > 0 ? 45 : 20, 6);
      fixed.writeUInt16LE(flags, 8);
      fixed.writeUInt16LE(0x21, 14);
      fixed.writeUInt32LE(crc32, 16);
      fixed.writeUInt32LE(wideSize ? max32 : size, 20);
      fixed.writeUInt32LE(wideSize ? max32 : size, 24);
      fixed.writeUInt16LE(name.length, 28);
      fixed.writeUInt16LE(wide.length, 30);
      fixed.writeUInt32LE(widePosition ? max32 : position, 42);
      parts.push(fixed, name, wide);
    }
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    const count = this.#written.length;
    const end64 = Buffer.alloc(56 + 20);
    end64.writeUInt32LE(0x06064b50, 0);
    end64.writeBigUInt64LE(44n, 4);
    end64.writeUInt16LE(45, 12);
    end64.writeUInt16LE(45, 14);
    end64.writeBigUInt64LE(BigInt(count), 24);
    end64.writeBigUInt64LE(BigInt(count), 32);
    end64.writeBigUInt64LE(BigInt(size), 40);
    end64.writeBigUInt64LE(BigInt(this.#at), 48);
    end64.writeUInt32LE(0x07064b50, 56);
    end64.writeBigUInt64LE(BigInt(this.#at + size), 64);
    end64.writeUInt32LE(1, 72);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(Math.min(count, 0xffff), 8);
    end.writeUInt16LE(Math.min(count, 0xffff), 10);
    end.writeUInt32LE(Math.min(size, max32), 12);
    end.writeUInt32LE(Math.min(this.#at, max32), 16);
    return Buffer.concat([...parts, end64, end]);
  }
}
