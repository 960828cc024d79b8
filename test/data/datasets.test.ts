import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { buildReidTestLoader, buildReidTrainLoader } from '../../src/data/build.js';
import { CommDataset } from '../../src/data/dataset.js';
import {
  DATASET_REGISTRY,
  EmojiReID,
  ImageDataset,
  type ImageItem,
  Market1501,
} from '../../src/data/datasets/index.js';

const roots: string[] = [];
after(() => {
  for (const root of roots) rmSync(root, { recursive: true });
});

function makeRoot(folder: string, files: Record<string, string[]>): string {
  const root = mkdtempSync(join(tmpdir(), 'reid-datasets-'));
  roots.push(root);
  for (const [name, list] of Object.entries(files)) {
    mkdirSync(join(root, folder, name), { recursive: true });
    for (const file of list) writeFileSync(join(root, folder, name, file), '');
  }
  return root;
}

const FILES = {
  bounding_box_train: [
    '0010_c6s1_000451_03.jpg',
    '0002_c1s1_000451_03.jpg',
    '0002_c2s1_000776_01.jpg',
    'Thumbs.db',
  ],
  query: ['0001_c1s1_001051_00.jpg'],
  bounding_box_test: ['-1_c1s1_000401_03.jpg', '0000_c1s1_000151_01.jpg', '0001_c3s1_001051_03.jpg'],
};

const plain = (items: readonly ImageItem[]): unknown[] =>
  items.map(({ imgPath, pid, camid }) => [basename(imgPath), pid, camid]);

test('Market1501 reads both layouts: junk is dropped, distractors stay, cameras count from 0', () => {
  for (const folder of ['Market-1501-v15.09.15', '.']) {
    const dataset = new Market1501({ root: makeRoot(folder, FILES) });
    assert.deepEqual(plain(dataset.train), [
      ['0002_c1s1_000451_03.jpg', 'market1501_2', 'market1501_0'],
      ['0002_c2s1_000776_01.jpg', 'market1501_2', 'market1501_1'],
      ['0010_c6s1_000451_03.jpg', 'market1501_10', 'market1501_5'],
    ]);
    assert.deepEqual(plain(dataset.query), [['0001_c1s1_001051_00.jpg', 1, 0]]);
    assert.deepEqual(plain(dataset.gallery), [
      ['0000_c1s1_000151_01.jpg', 0, 0],
      ['0001_c3s1_001051_03.jpg', 1, 2],
    ]);
  }
});

test('COMBINEALL trains on query and gallery too, without distractors', () => {
  const dataset = new Market1501({ root: makeRoot('.', FILES), combineAll: true });
  assert.deepEqual(plain(dataset.train).slice(3), [
    ['0001_c1s1_001051_00.jpg', 'market1501_test_1', 'market1501_test_0'],
    ['0001_c3s1_001051_03.jpg', 'market1501_test_1', 'market1501_test_2'],
  ]);
});

test('the statistics are FastReID’s table', () => {
  const dataset = new Market1501({ root: makeRoot('.', FILES) });
  assert.equal(
    dataset.showTrain(),
    [
      '=> Loaded Market1501',
      '| subset   | # ids   | # images   | # cameras   |',
      '|:---------|:--------|:-----------|:------------|',
      '| train    | 2       | 3          | 3           |',
    ].join('\n'),
  );
  assert.match(dataset.showTest(), /\| query {4}\| 1 {7}\| 1 .*\n\| gallery {2}\| 2 {7}\| 2 /);
});

test('several data sets are trained on together, each with its table, test parts too with COMBINEALL', async () => {
  const root = makeRoot('Market-1501-v15.09.15', FILES);
  for (const [name, list] of Object.entries(FILES)) {
    mkdirSync(join(root, 'DukeMTMC-reID', name), { recursive: true });
    for (const file of list) writeFileSync(join(root, 'DukeMTMC-reID', name, file), '');
  }
  const cfg = getCfg().mergeFromList(
    'MODEL.DEVICE cpu SOLVER.IMS_PER_BATCH 2 DATASETS.NAMES ("Market1501","DukeMTMC") DATASETS.COMBINEALL True'.split(
      ' ',
    ),
  );
  const tables: string[] = [];
  const train = buildReidTrainLoader(cfg, { root, seed: 0, log: (table) => tables.push(table) });
  // 3 pictures to train on and 2 without distractors of each; nobody is the same person in two data sets.
  assert.deepEqual([train.dataset.length, train.dataset.numClasses, train.dataset.numCameras], [10, 6, 10]);
  await train.close();
  for (const name of ['Market1501', 'DukeMTMC']) {
    const { loader } = buildReidTestLoader(cfg, name, { root, log: (table) => tables.push(table) });
    await loader.close();
  }
  assert.deepEqual(
    tables.map((table) =>
      table
        .replaceAll(/ +/g, ' ')
        .split('\n')
        .filter((line) => !/^\| subset|^\|:/.test(line)),
    ),
    [
      ['=> Loaded Market1501', '| train | 3 | 5 | 5 |'],
      ['=> Loaded DukeMTMC', '| train | 3 | 5 | 5 |'],
      ['=> Loaded Market1501', '| query | 1 | 1 | 1 |', '| gallery | 2 | 2 | 2 |'],
      ['=> Loaded DukeMTMC', '| query | 1 | 1 | 1 |', '| gallery | 2 | 2 | 2 |'],
    ],
  );
});

test('a missing folder is an error that shows the expected layout', () => {
  const root = mkdtempSync(join(tmpdir(), 'reid-datasets-'));
  roots.push(root);
  assert.throws(
    () => new Market1501({ root }),
    (error: Error) => {
      assert.match(error.message, /Market1501: '.*bounding_box_train' does not exist/);
      assert.match(
        error.message,
        /Market-1501-v15\.09\.15\/\n {4}bounding_box_train\/0002_c1s1_000451_03\.jpg/,
      );
      return true;
    },
  );
  assert.throws(() => new EmojiReID({ root }), /reid-native prepare emoji/);
});

test('a picture with another name, or a folder without pictures, is named', () => {
  const odd = makeRoot('.', { ...FILES, query: ['holiday.jpg'] });
  assert.throws(() => new Market1501({ root: odd }).query, /holiday\.jpg' is not named <identity>_c<camera>/);
  const empty = makeRoot('.', { ...FILES, query: ['readme.txt'] });
  assert.throws(() => new Market1501({ root: empty }).query, /no pictures in '.*query'/);
});

test('training labels are numbered in sorted order, test labels are kept', () => {
  const dataset = new Market1501({ root: makeRoot('.', FILES) });
  const train = new CommDataset(dataset.train);
  assert.equal(train.numClasses, 2);
  assert.equal(train.numCameras, 3);
  // As strings: market1501_10 comes before market1501_2.
  assert.deepEqual(
    [0, 1, 2].map((i) => train.at(i).target),
    [1, 1, 0],
  );
  const test = new CommDataset(dataset.gallery, { relabel: false });
  assert.deepEqual(
    [0, 1].map((i) => [test.at(i).target, test.at(i).camid]),
    [
      [0, 0],
      [1, 2],
    ],
  );
  assert.throws(() => new CommDataset(dataset.train, { relabel: false }), TypeError);
});

test('users register datasets of their own', () => {
  class Mine extends ImageDataset {
    readonly datasetName = 'mine';
    protected override readTrain(): ImageItem[] {
      return [this.named({ imgPath: 'a.jpg', pid: 5, camid: 0 })];
    }
    protected override readQuery(): ImageItem[] {
      return [];
    }
    protected override readGallery(): ImageItem[] {
      return [];
    }
  }
  DATASET_REGISTRY.register('MineForThisTest', Mine);
  const dataset = new (DATASET_REGISTRY.get('MineForThisTest'))();
  assert.deepEqual(plain(dataset.train), [['a.jpg', 'mine_5', 'mine_0']]);
  assert.throws(() => DATASET_REGISTRY.get('Market1051'), /Did you mean 'Market1501'/);
});
