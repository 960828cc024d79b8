import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeBmp } from '../../src/data/bmp.js';
import { loadImages, readImage } from '../../src/data/images.js';

// 5 × 3 pixels, written by Pillow, with what Pillow reads: rows of RGB.
const FILES: [kind: string, file: string, rgb: number[]][] = [
  [
    'rgb',
    'Qk1mAAAAAAAAADYAAAAoAAAABQAAAAMAAAABABgAAAAAADAAAADEDgAAxA4AAAAAAAAAAAAAqfLaP81y1C+gcEhPRd54ABjN8/YI7CTnpKxv0rCu0gAi5P+983lmgwbBUqhRlrsA',
    [
      255, 228, 34, 121, 243, 189, 6, 131, 102, 168, 82, 193, 187, 150, 81, 243, 205, 24, 236, 8, 246, 164,
      231, 36, 210, 111, 172, 210, 174, 176, 218, 242, 169, 114, 205, 63, 160, 47, 212, 79, 72, 112, 120, 222,
      69,
    ],
  ],
  [
    'palette',
    'Qk1qAAAAAAAAAFIAAAAoAAAABQAAAAMAAAABAAgAAAAAABgAAADEDgAAxA4AAAcAAAAHAAAAUOrUAGS+4wCB6XkAP81yAJVyvABmgwYAviqeAAEDBgUDAAAAAAYDBAQAAAAAAgUGAQAAAA==',
    [
      212, 234, 80, 121, 233, 129, 6, 131, 102, 158, 42, 190, 227, 190, 100, 212, 234, 80, 158, 42, 190, 114,
      205, 63, 188, 114, 149, 188, 114, 149, 227, 190, 100, 114, 205, 63, 158, 42, 190, 6, 131, 102, 114, 205,
      63,
    ],
  ],
  [
    'one bit',
    'Qk1KAAAAAAAAAD4AAAAoAAAABQAAAAMAAAABAAEAAAAAAAwAAADEDgAAxA4AAAIAAAACAAAAAAAAAP///wCoAAAA8AAAAJgAAAA=',
    [
      255, 255, 255, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
      255, 255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255,
    ],
  ],
  [
    'rgba',
    'Qk1yAAAAAAAAADYAAAAoAAAABQAAAAMAAAABACAAAAAAADwAAADEDgAAxA4AAAAAAAAAAAAAqfLa/z/Ncv/UL6D/cEhP/0XeeP8YzfP/9gjs/yTnpP+sb9L/sK7S/yLk//+983n/ZoMG/8FSqP9Rlrv/',
    [
      255, 228, 34, 121, 243, 189, 6, 131, 102, 168, 82, 193, 187, 150, 81, 243, 205, 24, 236, 8, 246, 164,
      231, 36, 210, 111, 172, 210, 174, 176, 218, 242, 169, 114, 205, 63, 160, 47, 212, 79, 72, 112, 120, 222,
      69,
    ],
  ],
];

for (const [kind, base64, rgb] of FILES) {
  test(`a bitmap is read as Pillow reads it, from a file and from memory: ${kind}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'reid-bmp-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const bytes = Buffer.from(base64, 'base64');
    const path = join(folder, 'x.BMP');
    writeFileSync(path, bytes);
    for (const source of [path, bytes]) {
      const image = await readImage(source);
      assert.deepEqual(image.shape, [3, 3, 5]);
      assert.deepEqual(image.permute([1, 2, 0]).contiguous().view([-1]).toArray(), rgb);
    }
    const batch = await loadImages([path, path], 3, 5);
    assert.deepEqual(batch.select(0, 1).permute([1, 2, 0]).contiguous().view([-1]).toArray(), rgb);
  });

  test(`a bitmap that is cut off anywhere, or top down: ${kind}`, async () => {
    const bytes = Buffer.from(base64, 'base64');
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decodeBmp(bytes.subarray(0, length)), /BMP file/);
    }
    bytes.writeInt32LE(-3, 22);
    const rows = [0, 1, 2].map((y) => rgb.slice(15 * y, 15 * (y + 1)));
    assert.deepEqual([...decodeBmp(bytes).data], rows.reverse().flat());
  });
}

test('what a bitmap may not be is an error, whatever its header promises', async () => {
  const whole = Buffer.from(FILES[0][1], 'base64');
  const changed = (offset: number, value: number): Buffer => {
    const bytes = Buffer.from(whole);
    bytes.writeUInt32LE(value, offset);
    return bytes;
  };
  assert.throws(() => decodeBmp(changed(18, 0x7fffffff)), /cut off/);
  assert.throws(() => decodeBmp(changed(18, 0)), /0 × 3 pixels/);
  assert.throws(() => decodeBmp(changed(14, 12)), /OS\/2/);
  assert.throws(() => decodeBmp(changed(30, 1)), /compression 1, which is not read/);
  await assert.rejects(readImage(changed(30, 1)), /cannot load image buffer: a BMP file of 24 bits/);
});
