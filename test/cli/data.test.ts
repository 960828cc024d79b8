import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import { reidNative } from './support.js';

let root = '';
before(async () => {
  root = mkdtempSync(join(tmpdir(), 'reid-data-'));
  for (const name of ['bounding_box_train', 'query', 'bounding_box_test']) {
    const folder = join(root, 'Market-1501-v15.09.15', name);
    mkdirSync(folder, { recursive: true });
    for (let id = 1; id <= 4; id++) {
      for (let camera = 1; camera <= 2; camera++) {
        const background = { r: 60 * id, g: 0, b: 0 };
        const image = sharp({ create: { width: 12, height: 20, channels: 3, background } });
        await image.jpeg({ quality: 95 }).toFile(join(folder, `000${id}_c${camera}s1_000000_00.jpg`));
      }
    }
  }
  writeFileSync(
    join(root, 'config.yml'),
    `INPUT: {SIZE_TRAIN: [40, 20]}
DATALOADER: {SAMPLER_TRAIN: NaiveIdentitySampler, NUM_INSTANCE: 2, NUM_WORKERS: 1}
SOLVER: {IMS_PER_BATCH: 8}
OUTPUT_DIR: ${join(root, 'out')}
`,
  );
});
after(() => rmSync(root, { recursive: true }));

const data = (...args: string[]) => reidNative(['data', ...args], { FASTREID_DATASETS: root });

test('data prints the tables and draws the batch as the model sees it', async () => {
  const { code, stdout, stderr } = await data(join(root, 'config.yml'), '--columns', '4');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /train +\| +4 +\| +8 +\| +2/);
  assert.match(stdout, /query +\| +4 +\| +8 +\| +2/);
  assert.match(stdout, /1 batch drawn: .*out\/batches\.png\n$/);
  const { data: pixels, info } = await sharp(join(root, 'out/batches.png'))
    .raw()
    .toBuffer({ resolveWithObject: true });
  // The reds of the four identities: two pictures of each, 20 × 40, enlarged and not changed.
  const counts = new Map<number, number>();
  for (let i = 0; i < pixels.length; i += info.channels) {
    if (pixels[i + 1] <= 3 && pixels[i + 2] <= 3 && pixels[i] > 50) {
      const id = Math.round(pixels[i] / 60);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  }
  for (let id = 1; id <= 4; id++) {
    const count = counts.get(id) ?? 0;
    assert.ok(count >= 1600 && count < 2200, `identity ${id}: ${count} pixels`);
  }
});

test('data takes a place to write to, overrides, and no batch at all', async () => {
  const out = join(root, 'new/sheet.png');
  const config = join(root, 'config.yml');
  const two = await data(config, '--out', out, '--batches', '2', 'INPUT.FLIP.ENABLED', 'True');
  assert.equal(two.code, 0, two.stderr);
  assert.match(two.stdout, /2 batches drawn/);
  assert.equal((await sharp(out).metadata()).format, 'png');
  const none = await data(config, '--batches', '0');
  assert.equal(none.code, 0, none.stderr);
  assert.doesNotMatch(none.stdout, /drawn/);
  const bad = await data(config, 'SOLVER.IMS_PER_BATCH', '9');
  assert.equal(bad.code, 1);
  assert.match(bad.stderr, /NUM_INSTANCE|IMS_PER_BATCH/);
});
