import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findImages, readImageList } from '../../src/data/index.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-image-files-'));
const at = (name: string): string => join(folder, name);

before(() => {
  for (const name of ['b/2.jpg', 'b/10.PNG', 'b/c/1.webp', 'b/notes.txt', 'a[1].jpg', 'empty/x.txt']) {
    mkdirSync(join(at(name), '..'), { recursive: true });
    writeFileSync(at(name), '');
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('files, folders and patterns, in the order given', () => {
  assert.deepEqual(
    findImages([at('b/2.jpg'), at('b')]),
    ['b/2.jpg', 'b/10.PNG', 'b/2.jpg', 'b/c/1.webp'].map(at),
  );
  assert.deepEqual(findImages([at('b/**')]), ['b/10.PNG', 'b/2.jpg', 'b/c/1.webp'].map(at));
  assert.deepEqual(findImages([at('b/*.{jpg,webp}')]), [at('b/2.jpg')]);
  // A name that exists is that file, whatever a pattern could make of it.
  assert.deepEqual(findImages([at('a[1].jpg')]), [at('a[1].jpg')]);
});

test('links to folders are followed, but not round in a circle', () => {
  mkdirSync(at('linked/x'), { recursive: true });
  symlinkSync(at('b'), at('linked/there'));
  for (const [target, name] of [
    ['..', 'up'],
    ['.', 'here'],
    ['round', 'round'],
  ]) {
    symlinkSync(target, at(`linked/x/${name}`));
  }
  assert.deepEqual(
    findImages([at('linked')]),
    ['10.PNG', '2.jpg', 'c/1.webp'].map((name) => at(`linked/there/${name}`)),
  );
});

test('what is not there is named', () => {
  assert.throws(() => findImages([at('gone.jpg')]), /gone\.jpg does not exist/);
  assert.throws(() => findImages([at('empty')]), /empty: there are no pictures in this folder/);
  assert.throws(() => findImages([at('*.gif')]), /\*\.gif: no picture matches this pattern/);
});

test('a list of pictures with identities and cameras', () => {
  const list = at('list.txt');
  writeFileSync(list, `# mine\n${at('b/2.jpg')}\tAnna\t1\r\n\n${at('b/10.PNG')}\tOtto\t2\n`);
  assert.deepEqual(readImageList(list), [
    { path: at('b/2.jpg'), identity: 'Anna', camera: '1' },
    { path: at('b/10.PNG'), identity: 'Otto', camera: '2' },
  ]);
  writeFileSync(list, at('b/2.jpg'));
  assert.deepEqual(readImageList(list), [{ path: at('b/2.jpg'), identity: undefined, camera: undefined }]);
});

test('a wrong list says in which line', () => {
  const list = at('list.txt');
  for (const [text, message] of [
    [`${at('b/2.jpg')}\tAnna\n${at('b/10.PNG')}`, /line 2 has 1 fields, the first line 2/],
    [`\n${at('gone.jpg')}`, /line 2: .*gone\.jpg is not a file/],
    [`${at('b/2.jpg')}\t\t3`, /line 1: an empty field/],
    [`${at('b/2.jpg')}\ta\tb\tc`, /got 4 fields/],
    ['# nothing\n', /no pictures in this list/],
  ] as const) {
    writeFileSync(list, text);
    assert.throws(() => readImageList(list), message);
  }
});
