import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import sharp from 'sharp';
import { prepareCommand } from '../../src/cli/prepare.js';
import { EmojiReID } from '../../src/data/datasets/index.js';
import { countEmoji, prepareEmoji } from '../../src/data/emoji.js';

const root = mkdtempSync(join(tmpdir(), 'reid-emoji-'));
after(() => rmSync(root, { recursive: true }));

test('renders the demo set: limited, complete, skipped, extended', async () => {
  mkdirSync(join(root, '.emoji-reid-999999999'), { recursive: true }); // what a killed run leaves behind
  const progress: number[] = [];
  const first = await prepareEmoji({ root, limit: 3, onProgress: (done) => progress.push(done) });
  assert.equal(first.skipped, false);
  const { train, query, gallery } = first.counts;
  assert.deepEqual([train.ids, gallery.ids], [3, 3]);
  assert.ok(train.images >= 15 && query.images <= 3);
  assert.equal(progress.length, train.images + query.images + gallery.images);
  assert.deepEqual(readdirSync(root), ['emoji-reid'], 'no temporary folder is left');

  const folder = join(root, 'emoji-reid');
  const names = readdirSync(join(folder, 'bounding_box_train')).sort();
  assert.match(names[0], /^\d{4}_c[1-6]s1_000000_00\.jpg$/);
  const picture = sharp(join(folder, 'bounding_box_train', names[0]));
  const { width, height, format, channels } = await picture.metadata();
  assert.deepEqual([width, height, format, channels], [128, 128, 'jpeg', 3]);
  const { data } = await picture.raw().toBuffer({ resolveWithObject: true });
  assert.ok(data[0] > 250 && data[1] > 250 && data[2] > 250, 'on white');
  assert.match(readFileSync(join(folder, 'CREDITS.md'), 'utf8'), /openmoji .*CC BY-SA 4\.0/);

  const dataset = new EmojiReID({ root });
  assert.equal(dataset.train.length, train.images);
  assert.ok(
    dataset.query.every(({ camid }) => camid === 3),
    'OpenMoji asks',
  );
  assert.ok(dataset.gallery.every(({ camid }) => camid !== 3));

  const written = statSync(join(folder, 'manifest.json')).mtimeMs;
  assert.equal((await prepareEmoji({ root, limit: 2 })).skipped, true);
  assert.equal(statSync(join(folder, 'manifest.json')).mtimeMs, written);

  const more = await prepareEmoji({ root, limit: 4 });
  assert.equal(more.skipped, false);
  assert.equal(more.counts.train.ids, 4);
  rmSync(join(folder, 'query', readdirSync(join(folder, 'query'))[0]));
  assert.equal((await prepareEmoji({ root, limit: 4 })).skipped, false, 'a damaged folder is rendered again');
  assert.equal((await prepareEmoji({ root, limit: 4 })).skipped, true);
});

test('the whole set has the published size', () => {
  assert.deepEqual(countEmoji(), {
    train: { ids: 629, images: 3686 },
    query: { ids: 563, images: 563 },
    gallery: { ids: 564, images: 2748 },
  });
});

test('the limit must make sense', async () => {
  await assert.rejects(prepareEmoji({ root, limit: 0 }), /positive number of identities/);
});

test('reid-native prepare emoji says what it did', async (context) => {
  const lines: string[] = [];
  context.mock.method(console, 'log', (line: string) => lines.push(line));
  const own = join(root, 'cli');
  const run = (): Promise<unknown> =>
    prepareCommand().parseAsync(['emoji', '--root', own, '--limit', '1'], { from: 'user' });
  await run();
  assert.match(
    lines.join('\n'),
    /Rendered .*cli\/emoji-reid in .* s\n {2}train {4}\d pictures of 1 identities\n/,
  );
  await run();
  assert.match(lines.join('\n'), /Already complete: /);
});
