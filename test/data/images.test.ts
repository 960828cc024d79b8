import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { loadImages, readImage } from '../../src/data/images.js';
import * as torch from '../../src/torch/index.js';
import { byteDifference, goldenBytes, goldenFloats, goldenImage } from './golden.js';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'reid-images-'));
});
after(() => rmSync(folder, { recursive: true }));

function write(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

for (const kind of ['q90_444', 'q90_420', 'q75_422', 'progressive', 'gray', 'exif6']) {
  test(`decodes a JPEG as PIL does: ${kind}`, async () => {
    const { bytes } = goldenBytes(`jpeg/${kind}/bytes`);
    const expected = goldenImage(`jpeg/${kind}/pixels`);
    for (const source of [bytes, write(`${kind}.jpg`, bytes)]) {
      const image = await readImage(source);
      assert.deepEqual(image.shape, expected.shape);
      assert.equal(byteDifference(image, expected).max, 0);
    }
  });
}

test('decodes PNGs to RGB: plain, grey, palette, transparent (on white), 16 bits', async () => {
  for (const kind of ['rgb', 'l', 'p']) {
    const image = await readImage(goldenBytes(`png/${kind}/bytes`).bytes);
    assert.deepEqual(image.shape, [3, 61, 37], kind);
    if (kind === 'p') continue; // the reference holds palette indices
    assert.equal(byteDifference(image, goldenImage(`png/${kind}/read_image`)).max, 0, kind);
  }
  for (const kind of ['rgba', 'la']) {
    const image = await readImage(goldenBytes(`png/${kind}/bytes`).bytes);
    const reference = goldenImage(`png/${kind}/read_image`).to(torch.float32);
    const last = reference.shape[0] - 1;
    const alpha = reference.narrow(0, last, 1).div(255);
    const onWhite = reference
      .narrow(0, 0, last)
      .mul(alpha)
      .add(alpha.neg().add(1).mul(255))
      .expand([3, 61, 37]);
    assert.ok(Number(image.to(torch.float32).sub(onWhite).abs().max().item()) <= 1, kind);
  }
  const grey16 = await readImage(goldenBytes('png/i16/bytes').bytes);
  assert.deepEqual(grey16.shape, [3, 61, 37]);
  assert.ok(Number(grey16.max().item()) > 100);
});

/** A PNG of one row of 16-bit grey levels. */
function grey16Png(levels: readonly number[]): Buffer {
  const chunk = (name: string, content: Buffer): Buffer => {
    const named = Buffer.concat([Buffer.from(name), content]);
    const whole = Buffer.alloc(named.length + 8);
    whole.writeUInt32BE(content.length);
    named.copy(whole, 4);
    whole.writeUInt32BE(crc32(named), named.length + 4);
    return whole;
  };
  const header = Buffer.from([0, 0, 0, levels.length, 0, 0, 0, 1, 16, 0, 0, 0, 0]);
  const row = Buffer.from([0, ...levels.flatMap((level) => [level >> 8, level & 255])]);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(row)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

test('palette, 16-bit grey and CMYK pictures show what they are made of', async () => {
  const picture = goldenImage('image').to(torch.float32);
  const distance = (image: torch.Tensor, to: torch.Tensor): number =>
    Number(image.to(torch.float32).sub(to).abs().mean().item());
  // 256 colours for a picture of 2,257 pixels are close to it, palette indices would not be.
  assert.ok(distance(await readImage(goldenBytes('png/p/bytes').bytes), picture) < 20);
  const grey = goldenImage('jpeg/gray/pixels').to(torch.float32);
  const deep = grey16Png([0, 256, 32768, 65535]);
  const levels = (await readImage(deep)).view([3, 4]).tolist() as number[][];
  for (const row of levels) {
    for (const [i, value] of [0, 1, 128, 255].entries()) assert.ok(Math.abs(row[i] - value) <= 1, `${row}`);
  }
  // Ink is light taken away: 255 − C − K and so on, roughly, since profiles differ.
  const cmyk = await readImage(goldenBytes('jpeg/cmyk/bytes').bytes);
  assert.deepEqual(cmyk.shape, [3, 61, 37]);
  assert.ok(distance(cmyk, picture) < 40, `${distance(cmyk, picture)}`);
  assert.ok(distance(grey.mul(-1).add(255), grey) > 20, 'the reference tells a picture from its negative');
});

test('every EXIF orientation comes out upright', async () => {
  const { bytes, shape } = goldenBytes('image');
  const upright = sharp(bytes, { raw: { width: shape[1], height: shape[0], channels: 3 } });
  const expected = goldenImage('image');
  // How a camera held each way would store the picture.
  const stored: Record<number, () => ReturnType<typeof sharp>> = {
    1: () => upright.clone(),
    2: () => upright.clone().flop(),
    3: () => upright.clone().rotate(180),
    4: () => upright.clone().flip(),
    6: () => upright.clone().rotate(270),
    8: () => upright.clone().rotate(90),
  };
  for (const [orientation, make] of Object.entries(stored)) {
    const turned = await make().png().toBuffer();
    for (const format of ['png', 'webp'] as const) {
      const file = await sharp(turned)
        .withMetadata({ orientation: Number(orientation) })
        .toFormat(format, { lossless: true })
        .toBuffer();
      const image = await readImage(file);
      assert.deepEqual(image.shape, expected.shape, `${format} ${orientation}`);
      assert.equal(byteDifference(image, expected).max, 0, `${format} ${orientation}`);
    }
    const jpeg = await sharp(turned)
      .withMetadata({ orientation: Number(orientation) })
      .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
      .toBuffer();
    assert.ok(byteDifference(await readImage(jpeg), expected).max <= 8, `jpeg ${orientation}`);
  }
});

test('decodes WebP by sharp', async () => {
  const webp = await sharp({ create: { width: 5, height: 4, channels: 3, background: '#ff0000' } })
    .webp({ lossless: true })
    .toBuffer();
  const image = await readImage(webp);
  assert.deepEqual(image.shape, [3, 4, 5]);
  assert.deepEqual(image.select(1, 0).select(1, 0).tolist(), [255, 0, 0]);
});

test('resizes exactly as PIL’s bicubic filter does', async () => {
  const { bytes } = goldenBytes('png/rgb/bytes');
  const original = goldenImage('image');
  assert.equal(byteDifference(await readImage(bytes), original).max, 0, 'the PNG is the reference picture');
  for (const [height, width] of [
    [256, 128],
    [128, 40],
    [64, 64],
    [30, 20],
    [61, 37],
  ]) {
    const batch = await loadImages([bytes], height, width);
    assert.deepEqual(batch.shape, [1, 3, height, width]);
    const expected = goldenImage(`resize_bicubic/${height}x${width}`);
    assert.equal(byteDifference(batch.select(0, 0), expected).max, 0, `${height}×${width}`);
  }
});

test('the test pipeline of the reference: decode, resize, float', async () => {
  const batch = await loadImages([goldenBytes('png/rgb/bytes').bytes], 80, 40);
  assert.equal(byteDifference(batch.select(0, 0), goldenFloats('test_pipeline_80x40')).max, 0);
});

test('fills every slot in order, whatever decoder and however many threads', async () => {
  const kinds = ['jpeg/q90_444', 'png/rgb', 'jpeg/gray', 'jpeg/exif6', 'jpeg/q90_420'];
  const sources = Array.from({ length: 40 }, (_, i) => goldenBytes(`${kinds[i % kinds.length]}/bytes`).bytes);
  const one = await loadImages(sources, 32, 16, { workers: 1 });
  for (const workers of [0, 2, 8]) {
    const batch = await loadImages(sources, 32, 16, { workers });
    assert.equal(byteDifference(batch, one).max, 0);
  }
  for (const [i, source] of sources.slice(0, kinds.length).entries()) {
    const alone = await loadImages([source], 32, 16);
    assert.equal(byteDifference(one.select(0, i), alone.select(0, 0)).max, 0);
  }
});

test('a picture that cannot be loaded is named, with the reason', async () => {
  const { bytes } = goldenBytes('jpeg/q90_420/bytes');
  const good = write('good.jpg', bytes);
  const load = (...paths: string[]): Promise<torch.Tensor> => loadImages([good, ...paths], 16, 16);
  const truncated = write('truncated.jpg', bytes.subarray(0, bytes.length >> 1));
  await assert.rejects(load(truncated), /cannot load '.*truncated\.jpg': broken JPEG: the file ends before/);
  const headless = write('headless.jpg', bytes.subarray(0, 30));
  await assert.rejects(load(headless), /headless\.jpg': broken JPEG/);
  await assert.rejects(load(join(folder, 'none.jpg')), /none\.jpg': No such file or directory/);
  await assert.rejects(load(folder), /not a regular file/);
  await assert.rejects(load(write('empty.jpg', new Uint8Array())), /empty\.jpg': the file is empty/);
  const { bytes: png } = goldenBytes('png/rgb/bytes');
  await assert.rejects(load(write('short.png', png.subarray(0, 900))), /cannot load '.*short\.png'/);
  await assert.rejects(load(write('text.jpg', Buffer.from('hello'))), /cannot load '.*text\.jpg'/);
  await assert.rejects(load(truncated, headless), /truncated\.jpg.*\(and 1 more of the same batch\)/);
  await assert.rejects(readImage(bytes.subarray(0, 500)), /cannot load image buffer: broken JPEG/);
});

test('broken bytes never crash the decoder', async () => {
  const { bytes } = goldenBytes('jpeg/progressive/bytes');
  let x = 1;
  for (let i = 0; i < 300; i++) {
    const broken = bytes.slice();
    for (let k = 0; k < 4; k++) {
      x = (Math.imul(x, 1103515245) + 12345) >>> 0;
      broken[2 + ((x >>> 8) % (broken.length - 2))] = x & 255;
    }
    await loadImages([broken], 8, 8).then(
      (image) => image.dispose(),
      (error: Error) => assert.match(error.message, /cannot load image buffer/),
    );
  }
});

test('arguments that make no sense are refused', async () => {
  const { bytes } = goldenBytes('jpeg/gray/bytes');
  await assert.rejects(loadImages([bytes], 8, 8, { workers: -1 }), /NUM_WORKERS must be 0 or more/);
  await assert.rejects(loadImages([5 as unknown as string], 8, 8), /a path or a Uint8Array/);
  await assert.rejects(loadImages([bytes], 0, 8));
  assert.deepEqual((await loadImages([], 8, 8)).shape, [0, 3, 8, 8]);
});
