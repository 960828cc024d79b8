import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import sharp from 'sharp';
import { prepareCuhk03 } from '../../src/data/cuhk03.js';
import { type ImageItem, openDataset } from '../../src/data/datasets/index.js';
import { readMatlab } from '../../src/data/matlab.js';
import { repoRoot } from '../support/paths.js';

const fixture = (name: string): string => join(repoRoot, 'test/data/fixtures', name);

function temporary(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'reid-cuhk03-'));
  t.after(() => rmSync(root, { recursive: true }));
  return root;
}

const plain = (root: string, items: readonly ImageItem[]): unknown[] =>
  items.map(({ imgPath, pid, camid }) => [relative(join(root, 'cuhk03'), imgPath), pid, camid]);

test('MATLAB files of level 5, as SciPy writes them: numbers, text, cells; other kinds are left out', () => {
  const kinds = Object.fromEntries(readMatlab(fixture('kinds.mat')));
  assert.deepEqual(kinds, {
    flag: { kind: 'numbers', dims: [1, 2], values: [1, 0] },
    d: { kind: 'numbers', dims: [2, 2], values: [1.5, 3, -2, 4] },
    i: { kind: 'numbers', dims: [1, 1], values: [-7] },
    u8: { kind: 'numbers', dims: [1, 3], values: [0, 1, 2] },
    text: { kind: 'text', rows: ['héllo'] },
    big: { kind: 'numbers', dims: [1, 1], values: [2 ** 40] },
    f: { kind: 'numbers', dims: [1, 1], values: [0.5] },
    rows: { kind: 'text', rows: ['ab', 'cd'] },
  });
});

test('a damaged MATLAB file, or another, is an error that names it', (t) => {
  const root = temporary(t);
  const path = join(root, 'x.mat');
  for (const name of ['kinds.mat', 'protocol.mat']) {
    const whole = readFileSync(fixture(name));
    for (let length = 0; length < whole.length; length += 7) {
      writeFileSync(path, whole.subarray(0, length));
      // What is cut between two variables reads as fewer of them; all else is an error with the file's name.
      try {
        readMatlab(path);
      } catch (error) {
        assert.match((error as Error).message, /x\.mat' cannot be read as a MATLAB file: /);
      }
    }
    writeFileSync(path, whole.subarray(0, whole.length - 9));
    assert.throws(() => readMatlab(path), /x\.mat' cannot be read as a MATLAB file: /);
  }
  writeFileSync(path, Buffer.alloc(300, 'MATLAB 7.3 MAT-file '));
  assert.throws(() => readMatlab(path), /version 7.3 \(HDF5\)/);
});

test('CUHK03 is read by the new protocol, and by labels or detections', (t) => {
  const root = temporary(t);
  assert.throws(
    () => openDataset('CUHK03', { root }),
    /CUHK03: '.*images_labeled' does not exist.\n(.*\n)*.*reid-native prepare cuhk03/,
  );
  const folder = join(root, 'cuhk03');
  for (const boxes of ['labeled', 'detected']) {
    mkdirSync(join(folder, `images_${boxes}`), { recursive: true });
    assert.throws(
      () => openDataset(boxes === 'labeled' ? 'CUHK03' : 'CUHK03Detected', { root }),
      new RegExp(`config_${boxes}.mat' does not exist`),
    );
    copyFileSync(fixture('protocol.mat'), join(folder, `cuhk03_new_protocol_config_${boxes}.mat`));
  }
  for (const [name, images] of [
    ['CUHK03', 'images_labeled'],
    ['CUHK03Detected', 'images_detected'],
  ]) {
    const dataset = openDataset(name, { root });
    assert.deepEqual(plain(root, dataset.train), [
      [`${images}/2_001_1_01.png`, 'cuhk03_1', 'cuhk03_0'],
      [`${images}/2_001_2_06.png`, 'cuhk03_1', 'cuhk03_1'],
      [`${images}/1_001_1_01.png`, 'cuhk03_0', 'cuhk03_0'],
      [`${images}/1_001_1_02.png`, 'cuhk03_0', 'cuhk03_0'],
      [`${images}/1_001_2_06.png`, 'cuhk03_0', 'cuhk03_1'],
    ]);
    assert.deepEqual(plain(root, dataset.query), [
      [`${images}/1_002_1_01.png`, 2, 0],
      [`${images}/1_003_1_01.png`, 3, 0],
    ]);
    assert.deepEqual(plain(root, dataset.gallery), [
      [`${images}/1_002_2_06.png`, 2, 1],
      [`${images}/1_003_2_06.png`, 3, 1],
    ]);
  }
  copyFileSync(fixture('kinds.mat'), join(folder, 'cuhk03_new_protocol_config_labeled.mat'));
  assert.throws(
    () => openDataset('CUHK03', { root }).train,
    /labeled.mat' is no protocol of CUHK03: it has no cells called filelist/,
  );
});

test('the pictures in cuhk-03.mat are written under the names of the protocol, once', async (t) => {
  const root = temporary(t);
  const folder = join(root, 'cuhk03');
  await assert.rejects(prepareCuhk03({ root }), /cuhk-03.mat' does not exist: unpack cuhk03_release.zip/);
  mkdirSync(join(folder, 'cuhk03_release'), { recursive: true });
  copyFileSync(fixture('cuhk-03.mat'), join(folder, 'cuhk03_release/cuhk-03.mat'));
  mkdirSync(join(folder, 'images_labeled.partial')); // left by a run that was stopped
  writeFileSync(join(folder, 'images_labeled.partial/old.png'), '');
  const progress: number[][] = [];
  const { folders } = await prepareCuhk03({ root, onProgress: (...args) => progress.push(args) });
  const expected = JSON.parse(readFileSync(fixture('cuhk-03.json'), 'utf8')) as Record<string, number[]>;
  const written = ['detected', 'labeled'].flatMap((boxes) =>
    readdirSync(join(folder, `images_${boxes}`)).map((name) => `${boxes}/${name}`),
  );
  assert.deepEqual(written.sort(), Object.keys(expected).sort());
  for (const [name, values] of Object.entries(expected)) {
    const { data, info } = await sharp(join(folder, `images_${name}`))
      .raw()
      .toBuffer({ resolveWithObject: true });
    const { width, height } = info;
    const at = (y: number, x: number, c: number): number => data[(y * width + x) * 3 + c];
    const sum = data.reduce((a, b) => a + b, 0);
    assert.deepEqual(
      [height, width, at(0, 0, 0), at(0, 1, 0), at(1, 0, 0), at(height - 1, width - 1, 2), sum],
      values,
      name,
    );
  }
  assert.deepEqual(progress.at(-1), [22, 22]);
  assert.ok(!existsSync(join(folder, 'images_labeled.partial')));
  assert.deepEqual(
    folders.map(({ images }) => images),
    [12, 10],
  );
  assert.deepEqual(
    (await prepareCuhk03({ root })).folders.map(({ images }) => images),
    [0, 0],
  );
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'classic_testsets.json'), 'utf8')), [
    [[1, 2]],
    [
      [2, 1],
      [1, 1],
    ],
  ]);

  rmSync(join(folder, 'images_labeled'), { recursive: true });
  writeFileSync(join(folder, 'cuhk03_release/cuhk-03.mat'), 'nonsense');
  await assert.rejects(prepareCuhk03({ root }), /cuhk-03.mat' cannot be read as HDF5/);
  assert.ok(!existsSync(join(folder, 'images_labeled')));
});

test('the classic splits: identities of a test set, all others to train on, numbered as FastReID does', async (t) => {
  const root = temporary(t);
  const folder = join(root, 'cuhk03');
  mkdirSync(join(folder, 'cuhk03_release'), { recursive: true });
  mkdirSync(join(folder, 'images_labeled'));
  assert.throws(
    () => openDataset('CUHK03Classic', { root }),
    /classic_testsets.json' does not exist.\n(.*\n)*.*reid-native prepare cuhk03/,
  );
  rmSync(join(folder, 'images_labeled'), { recursive: true });
  copyFileSync(fixture('cuhk-03.mat'), join(folder, 'cuhk03_release/cuhk-03.mat'));
  await prepareCuhk03({ root });
  const pictures = (boxes: string, pid: number | string, name: string, ...numbers: string[]): unknown[] =>
    numbers.map((number) => {
      const camera = Number(number[0]) - 1;
      const labels = typeof pid === 'string' ? [pid, `cuhk03_${camera}`] : [pid, camera];
      return [`images_${boxes}/${name}_${number}.png`, ...labels];
    });
  const first = openDataset('CUHK03Classic', { root });
  assert.deepEqual(plain(root, first.train), [
    ...pictures('labeled', 'cuhk03_0', '1_001', '1_01', '1_02', '2_06'),
    ...pictures('labeled', 'cuhk03_1', '1_003', '1_01', '1_02', '2_06'),
    ...pictures('labeled', 'cuhk03_2', '2_001', '1_01', '1_02', '2_06'),
  ]);
  assert.deepEqual(plain(root, first.query), pictures('labeled', 0, '1_002', '1_01', '1_02', '2_06'));
  assert.deepEqual(openDataset('CUHK03Classic#0', { root }).train, first.train);
  const second = openDataset('CUHK03ClassicDetected#1', { root });
  const tested = [
    ...pictures('detected', 0, '1_001', '1_01', '2_06'),
    ...pictures('detected', 1, '2_001', '1_01', '2_06'),
  ];
  assert.deepEqual(plain(root, second.query), tested);
  assert.deepEqual(plain(root, second.gallery), tested);
  const { images, trials, cameras } = second.testSet();
  assert.deepEqual(plain(root, images), tested);
  assert.deepEqual(trials, [{ query: [0, 1, 2, 3], gallery: [0, 1, 2, 3] }]);
  assert.ok(cameras);
  for (const [name, message] of [
    ['CUHK03Classic#20', "there is no 'CUHK03Classic#20': there is CUHK03Classic#0 to CUHK03Classic#19"],
    ['CUHK03#1', "there is no 'CUHK03#1': there is only CUHK03"],
  ]) {
    assert.throws(() => openDataset(name, { root }), { message });
  }
});
