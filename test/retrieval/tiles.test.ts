import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import sharp from 'sharp';
import { drawTiles, numberedName } from '../../src/retrieval/index.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-tiles-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('a row of images: each picture in a frame of its verdict, a lost one in its place', async () => {
  const path = join(folder, 'orange.png');
  await sharp({ create: { width: 64, height: 128, channels: 3, background: '#ff8000' } }).toFile(path);
  const png = await drawTiles('<query> & more', [
    { path, lines: ['query'], verdict: 'query' },
    { path, lines: ['0.1', 'camera 3'], verdict: 'right' },
    { path: join(folder, 'gone.jpg'), lines: ['0.2'], verdict: 'wrong' },
  ]);
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const at = (x: number, y: number): number[] => [...data.subarray((y * info.width + x) * 3).subarray(0, 3)];
  // Pictures of 80 × 160 in frames of 4, 8 apart, below 28 for the title.
  assert.deepEqual([info.width, info.height], [8 + 3 * 96, 28 + 4 + 160 + 4 + 2 * 16 + 8]);
  const middle = 32 + 80;
  const frames = [0, 1, 2].map((i) => at(8 + i * 96 + 2, middle));
  assert.deepEqual(frames, [
    [0x00, 0x72, 0xb2],
    [0x1a, 0x96, 0x41],
    [0xd7, 0x19, 0x1c],
  ]);
  const [red, green, blue] = at(8 + 96 + 44, middle);
  assert.ok(Math.abs(red - 255) < 6 && Math.abs(green - 128) < 6 && blue < 6);
  assert.deepEqual(at(8 + 2 * 96 + 44, 40), [238, 238, 238]);
});

test('names of pictures are safe and in order', () => {
  assert.equal(numberedName('out', 6, 120, 'a/b c?.tar.jpg'), join('out', '007-b_c_.tar.png'));
});

test('a Windows bitmap, which sharp does not read, is drawn too', async () => {
  const bmp = Buffer.alloc(54 + 2 * 8);
  bmp.write('BM', 0, 'latin1');
  for (const [at, value] of [
    [2, bmp.length],
    [10, 54],
    [14, 40],
    [18, 2],
    [22, 2],
  ]) {
    bmp.writeUInt32LE(value, at);
  }
  bmp.writeUInt16LE(1, 26);
  bmp.writeUInt16LE(24, 28);
  // Two rows of two pixels (blue, green, red), each padded to eight bytes.
  for (const row of [54, 62]) bmp.set([0, 128, 255, 0, 128, 255], row);
  const path = join(folder, 'orange.bmp');
  writeFileSync(path, bmp);
  const png = await drawTiles('bitmap', [{ path, lines: ['query'] }]);
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const middle = ((32 + 80) * info.width + 8 + 4 + 80) * 3;
  const [red, green, blue] = data.subarray(middle, middle + 3);
  assert.ok(Math.abs(red - 255) < 6 && Math.abs(green - 128) < 6 && blue < 6, `${red} ${green} ${blue}`);
});
