import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { loadImages } from '../../src/data/images.js';
import { ImageCache } from '../../src/torch/image.js';
import { byteDifference, goldenBytes } from './golden.js';

let folder = '';
let paths: string[] = [];
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'reid-cache-'));
  paths = ['jpeg/q90_444', 'jpeg/gray', 'png/rgb', 'png/rgba', 'jpeg/exif6'].map((kind, i) => {
    const path = join(folder, `${i}.img`);
    writeFileSync(path, goldenBytes(`${kind}/bytes`).bytes);
    return path;
  });
});
after(() => rmSync(folder, { recursive: true }));

const PIXELS = 61 * 37 * 3;
const load = (cache?: ImageCache, some = paths) => loadImages(some, 30, 20, { cache, workers: 2 });
/** One after the other, so that which pictures find room is no matter of chance. */
const loadInTurn = async (cache: ImageCache, some: string[]): Promise<void> => {
  for (const path of some) await load(cache, [path]);
};

test('in memory: the same pictures, decoded once, whatever decodes them', async () => {
  const cache = new ImageCache({ limit: 2 ** 20 });
  const expected = await load();
  for (let pass = 0; pass < 3; pass++) {
    assert.equal(byteDifference(await load(cache), expected).max, 0);
    assert.deepEqual(cache.stats, { hits: 5 * pass, images: 5, bytes: 5 * PIXELS });
  }
  // What is in memory needs no file.
  const gone = join(folder, 'gone.jpg');
  writeFileSync(gone, goldenBytes('jpeg/q90_444/bytes').bytes);
  const first = await load(cache, [gone]);
  rmSync(gone);
  assert.equal(byteDifference(await load(cache, [gone]), first).max, 0);
});

test('never more than its limit, and what does not fit is loaded all the same', async () => {
  const expected = await load();
  for (const limit of [0, PIXELS, 2.5 * PIXELS]) {
    const cache = new ImageCache({ limit: Math.floor(limit) });
    for (let pass = 0; pass < 2; pass++) assert.equal(byteDifference(await load(cache), expected).max, 0);
    assert.ok(cache.stats.bytes <= limit, `${cache.stats.bytes}`);
    assert.equal(cache.stats.images, Math.floor(limit / PIXELS));
  }
});

test('several processes keep to one limit together', async () => {
  const one = new ImageCache({ limit: 4 * PIXELS, shares: 2 });
  await load(one);
  assert.equal(one.stats.images, 2);
  const kept = join(folder, 'shared');
  mkdirSync(kept);
  // What is in the folder counts once, not for each of them.
  await loadInTurn(new ImageCache({ folder: kept, limit: PIXELS }), paths);
  const size = readdirSync(kept).reduce((sum, name) => sum + statSync(join(kept, name)).size, 0);
  const shared = [0, 1].map(() => new ImageCache({ folder: kept, limit: 4 * PIXELS + size, shares: 2 }));
  await loadInTurn(shared[0], paths.slice(1, 4));
  await loadInTurn(shared[1], paths.slice(3));
  assert.deepEqual(
    shared.map(({ stats }) => stats.images),
    [2, 2],
  );
});

test('in a folder: outlives the process, follows changes of the files, survives broken ones', async () => {
  const own = mkdtempSync(join(folder, 'own-'));
  const expected = await load();
  const first = new ImageCache({ folder: own, limit: 2 ** 20 });
  assert.equal(byteDifference(await load(first), expected).max, 0);
  assert.equal(first.stats.images, 5);
  const files = readdirSync(own).map((name) => join(own, name));
  assert.equal(files.length, 5, 'and nothing half-written');

  const second = new ImageCache({ folder: own, limit: 2 ** 20 });
  assert.equal(byteDifference(await load(second), expected).max, 0);
  assert.equal(second.stats.hits, 5);
  assert.ok(second.stats.bytes >= 5 * PIXELS, 'what is there already counts');

  for (const [i, file] of files.entries()) {
    const bytes = readFileSync(file);
    if (i === 0) writeFileSync(file, bytes.subarray(0, bytes.length - 1));
    if (i === 1) writeFileSync(file, bytes.subarray(0, 20));
    if (i === 2) writeFileSync(file, Buffer.concat([bytes, bytes]));
    if (i === 3) writeFileSync(file, '');
  }
  const third = new ImageCache({ folder: own, limit: 2 ** 20 });
  assert.equal(byteDifference(await load(third), expected).max, 0);
  assert.equal(third.stats.hits, 1);

  // Another picture under an old name.
  writeFileSync(paths[0], goldenBytes('jpeg/gray/bytes').bytes);
  utimesSync(paths[0], new Date(2001, 1, 1), new Date(2001, 1, 1));
  const fourth = new ImageCache({ folder: own, limit: 2 ** 20 });
  assert.equal(byteDifference(await load(fourth), await load()).max, 0);
  assert.equal(fourth.stats.hits, 4);
});

test('a folder that cannot be written to is done without', async () => {
  const cache = new ImageCache({ folder: join(folder, 'is', 'not', 'there'), limit: 2 ** 20 });
  assert.equal(byteDifference(await load(cache), await load()).max, 0);
  assert.equal(cache.stats.images, 0);
  assert.throws(() => new ImageCache({ limit: -1 }), /0 or more bytes/);
});
