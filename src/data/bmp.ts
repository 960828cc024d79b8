/** RGB bytes, height × width × 3. */
export interface RawImage {
  data: Uint8Array;
  height: number;
  width: number;
}

const PIXELS_AT = 10;
const HEADER_AT = 14;
const UNCOMPRESSED = 0;
const BIT_FIELDS = 3;
const MASKS = [0xff0000, 0xff00, 0xff]; // red, green, blue where they always are

/** Whether the bytes of a file begin as a Windows bitmap does. */
export function isBmp(file: Uint8Array): boolean {
  return file[0] === 0x42 && file[1] === 0x4d;
}

/**
 * Decodes an uncompressed Windows bitmap (1, 4, 8, 24 or 32 bits a pixel), which sharp does not read and some data sets
 * consist of. Transparency is left out, as most programs do that write 32 bits.
 *
 * Throws on what is damaged, cut off or compressed.
 */
export function decodeBmp(file: Uint8Array): RawImage {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (!isBmp(file) || file.length < HEADER_AT + 40) throw new Error('not a whole BMP file');
  const headerSize = view.getUint32(HEADER_AT, true);
  if (headerSize < 40) throw new Error('a BMP file of OS/2, which is not read');
  const width = view.getInt32(18, true);
  const signedHeight = view.getInt32(22, true);
  const bits = view.getUint16(28, true);
  const compression = view.getUint32(30, true);
  const height = Math.abs(signedHeight);
  if (width < 1 || height < 1) throw new Error(`a BMP file of ${width} × ${height} pixels`);
  if (![1, 4, 8, 24, 32].includes(bits) || !plain(view, bits, compression)) {
    throw new Error(`a BMP file of ${bits} bits a pixel with compression ${compression}, which is not read`);
  }
  const from = view.getUint32(PIXELS_AT, true);
  const stride = Math.ceil((width * bits) / 32) * 4;
  if (from + stride * height > file.length) throw new Error('the BMP file is cut off');
  const colours = bits <= 8 ? palette(view, HEADER_AT + headerSize, bits) : undefined;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    // Rows go from the bottom up, unless the height is negative.
    const row = from + stride * (signedHeight < 0 ? y : height - 1 - y);
    for (let x = 0; x < width; x++) {
      const at = colours
        ? { bytes: colours, i: 4 * indexAt(file, row, x, bits) }
        : { bytes: file, i: row + (x * bits) / 8 };
      // Blue comes first.
      for (let c = 0; c < 3; c++) data[(y * width + x) * 3 + c] = at.bytes[at.i + 2 - c];
    }
  }
  return { data, height, width };
}

/** Whether channels lie as in most files: bit fields may say so, too. */
function plain(view: DataView, bits: number, compression: number): boolean {
  if (compression === UNCOMPRESSED) return true;
  if (compression !== BIT_FIELDS || bits !== 32 || view.byteLength < 66) return false;
  return MASKS.every((mask, i) => view.getUint32(54 + 4 * i, true) === mask);
}

/** Four bytes a colour; those that the file leaves out are black. */
function palette(view: DataView, at: number, bits: number): Uint8Array {
  const colours = new Uint8Array(4 << bits);
  const count = Math.min(view.getUint32(46, true) || 1 << bits, 1 << bits);
  if (at + 4 * count > view.byteLength) throw new Error('the BMP file is cut off');
  colours.set(new Uint8Array(view.buffer, view.byteOffset + at, 4 * count));
  return colours;
}

function indexAt(file: Uint8Array, row: number, x: number, bits: number): number {
  const perByte = 8 / bits;
  const byte = file[row + Math.floor(x / perByte)];
  return (byte >> (8 - bits * ((x % perByte) + 1))) & ((1 << bits) - 1);
}
