import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import sharp from 'sharp';
import { getCfg } from '../../src/config/index.js';
import { buildReidTestLoader, buildReidTrainLoader } from '../../src/data/build.js';
import {
  type ImageDataset,
  type ImageItem,
  type OpenOptions,
  openDataset,
  type TestSet,
} from '../../src/data/datasets/index.js';

function folderWith(t: TestContext, files: readonly string[]): string {
  const root = mkdtempSync(join(tmpdir(), 'reid-own-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const file of files) write(root, file, '');
  return root;
}

function write(root: string, file: string, text: string): void {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
}

const open = (name: string, own?: OpenOptions['own'], combineAll = false): ImageDataset =>
  openDataset(name, { own, combineAll });

/** Every identity, whose pictures are `names`. */
const pictures = (identities: readonly string[], names: readonly string[]): string[] =>
  identities.flatMap((identity) => names.map((name) => `${identity}/${name}`));

const IDENTITIES = Array.from({ length: 10 }, (_, i) => `cat ${i}`);

const pathsOf = (root: string, items: readonly ImageItem[]): string[] =>
  items.map(({ imgPath }) => relative(root, imgPath)).sort();

const identityOf = (root: string, { imgPath }: ImageItem): string => relative(root, imgPath).split('/')[0];

function trialPaths(root: string, { images, trials }: TestSet): { query: string[]; gallery: string[] } {
  const [trial, ...others] = trials;
  assert.equal(others.length, 0);
  const named = (at: readonly number[]): string[] =>
    pathsOf(
      root,
      at.map((i) => images[i]),
    );
  return { query: named(trial.query), gallery: named(trial.gallery) };
}

test('a folder without cameras: half of the identities are tested on, each picture against all others', (t) => {
  const root = folderWith(t, [
    ...pictures(IDENTITIES, ['a.jpg', 'b.png', 'c.JPEG']),
    'readme.txt',
    '.x/a.jpg',
  ]);
  const dataset = open(`folder:${root}`);
  const train = new Set(dataset.train.map((item) => identityOf(root, item)));
  const { images, cameras } = dataset.testSet();
  const tested = new Set(images.map((item) => identityOf(root, item)));
  assert.deepEqual([train.size, tested.size, new Set([...train, ...tested]).size], [5, 5, 10]);
  assert.equal(dataset.train.length, 15);
  assert.equal(cameras, false);
  const { query, gallery } = trialPaths(root, dataset.testSet());
  assert.deepEqual(query, gallery);
  assert.equal(query.length, 15);
  assert.equal(new Set(images.map(({ pid }) => pid)).size, 5);
  assert.ok(images.every(({ pid, camid }) => Number.isInteger(pid) && camid === 0));
  assert.match(dataset.showTrain(), /^=> Loaded folder:.*\n.*\n.*\n\| train {4}\| 5 {7}\| 15 /);
  assert.match(dataset.showTest(), /\| query {4}\| 5 {7}\| 15 .*\n.*gallery.*\nNo cameras are known/);
});

test('the division is a matter of names and seed, and moves little when identities come', (t) => {
  const root = folderWith(t, pictures(IDENTITIES, ['a.jpg', 'b.jpg']));
  const tested = (seed: number, testShare = 0.5): Set<string> =>
    new Set(
      open(`folder:${root}`, { seed, testShare })
        .testSet()
        .images.map((item) => identityOf(root, item)),
    );
  assert.deepEqual(tested(1), tested(1));
  const seeds = Array.from({ length: 8 }, (_, seed) => [...tested(seed)].sort().join());
  assert.ok(new Set(seeds).size > 4, 'seeds differ');
  assert.equal(tested(0, 0.2).size, 2);
  assert.equal(tested(0, 0.999).size, 9, 'something is left to train on');
  assert.equal(tested(0, 0.001).size, 1);
  const before = tested(3);
  write(root, 'newcomer/a.jpg', '');
  write(root, 'newcomer/b.jpg', '');
  const after = tested(3);
  assert.ok([...before].filter((identity) => !after.has(identity)).length <= 1);
  assert.throws(() => tested(0, 1), /TEST_SHARE must be between 0 and 1, got 1/);
});

for (const [where, names] of [
  ['folders', ['north/1.jpg', 'north/2.jpg', 'south/1.jpg']],
  ['names', ['x_c1.jpg', 'x_c1s2.jpg', 'y_c2s1.jpg']],
] as const) {
  test(`cameras from ${where}: one query for each camera of an identity, all of the test part in the gallery`, (t) => {
    const alone = pictures(['alone'], names.slice(0, 2));
    const root = folderWith(t, [...pictures(IDENTITIES, names), ...alone]);
    const dataset = open(`folder:${root}#all`);
    const { images, cameras, trials } = dataset.testSet();
    assert.equal(cameras, true);
    const { query, gallery } = trialPaths(root, dataset.testSet());
    assert.deepEqual(gallery, [...pictures(IDENTITIES, names), ...alone].sort());
    assert.equal(query.length, 20, 'none of the identity that one camera alone has seen');
    const seen = trials[0].query.map((i) => `${images[i].pid} ${images[i].camid}`);
    assert.equal(new Set(seen).size, 20);
    assert.equal(new Set(images.map(({ camid }) => camid)).size, 2);
    assert.equal(new Set(dataset.train.map(({ camid }) => camid)).size, 2);
    assert.match(dataset.showTest(), /of a query's identity and camera do not count/);
  });
}

test('folders called train, query and gallery, or train and test, say what belongs where', (t) => {
  const root = folderWith(t, [
    ...pictures(['train/1', 'train/2'], ['a.jpg']),
    'query/3/a_c1.jpg',
    'gallery/3/b_c2.jpg',
    'gallery/4/c_c1.jpg',
  ]);
  const all = folderWith(t, [
    'train/1/a_c1.jpg',
    'query/3/a_c1.jpg',
    'gallery/3/b_c2.jpg',
    'gallery/4/c_c1.jpg',
  ]);
  assert.throws(
    () => open(`folder:${root}`).train,
    /the camera of '.*gallery\/3\/b_c2.jpg' is known \(2\), that of '.*train\/1\/a.jpg' is not/,
  );
  const dataset = open(`folder:${all}`);
  assert.deepEqual(pathsOf(all, dataset.train), ['train/1/a_c1.jpg']);
  assert.deepEqual(trialPaths(all, dataset.testSet()), {
    query: ['query/3/a_c1.jpg'],
    gallery: ['gallery/3/b_c2.jpg', 'gallery/4/c_c1.jpg'],
  });
  assert.equal(dataset.testSet().cameras, true);
  assert.equal(open(`folder:${all}`, { cameraPattern: '' }).testSet().cameras, false);

  const halves = folderWith(t, [...pictures(['train/1', 'test/2', 'test/3'], ['a.jpg', 'b.jpg'])]);
  assert.equal(open(`folder:${halves}`).testSet().images.length, 4);
  assert.equal(open(`folder:${halves}`).train.length, 2);
  assert.equal(open(`folder:${halves}`, {}, true).train.length, 6, 'COMBINEALL');
  assert.equal(open(`folder:${halves}#all`, {}, true).train.length, 6, 'COMBINEALL has nothing to add');
  assert.throws(
    () => open(`folder:${folderWith(t, ['train/1/a.jpg', 'query/1/b.jpg'])}`).train,
    /query and gallery belong together/,
  );
  const trainOnly = open(`folder:${folderWith(t, ['train/1/a.jpg'])}`, {}, true);
  assert.equal(trainOnly.train.length, 1, 'COMBINEALL has nothing to add');
  assert.throws(() => trainOnly.testSet(), /has no test part: it can be in NAMES, not in TESTS/);
});

test('a picture in a wrong place, and data that cannot be tested on, are named', (t) => {
  assert.throws(
    () => open('folder:/nowhere/at/all'),
    /'\/nowhere\/at\/all' does not exist.\nExpected layout.*\n.*\n {4}<identity>\/<picture>.jpg/,
  );
  const root = folderWith(t, ['1/a.jpg', 'stray.jpg']);
  assert.throws(
    () => open(`folder:${root}`).train,
    /stray.jpg' is in no folder of an identity.*\n.*Expected layout/,
  );
  assert.throws(() => open(`folder:${join(root, 'stray.jpg')}`), /is not a folder/);
  const odd = folderWith(t, ['train/1/a.jpg', 'val/1/b.jpg', 'test/2/c.jpg']);
  assert.throws(() => open(`folder:${odd}`).train, /'test' beside 'val'|'train' beside 'val'/);
  assert.throws(() => open(`folder:${folderWith(t, ['1/2/3/a.jpg'])}`).train, /a.jpg' is in no folder/);
  assert.throws(() => open(`folder:${folderWith(t, ['1/readme.txt'])}`).train, /no pictures in it/);
  assert.throws(
    () => open(`folder:${folderWith(t, ['1/a.jpg'])}`).train,
    /1 identity cannot be divided .* write 'folder:.*#all'/,
  );
  const single = folderWith(t, ['1/a.jpg', '2/a.jpg']);
  assert.throws(() => open(`folder:${single}`).testSet(), /no identity to test on has two pictures/);
  const oneCamera = folderWith(t, pictures(['1', '2'], ['a_c1.jpg', 'b_c1.jpg']));
  assert.throws(() => open(`folder:${oneCamera}`).testSet(), /seen by two cameras; .*CAMERA_PATTERN/);
  assert.equal(open(`folder:${oneCamera}#all`, { cameraPattern: '' }).testSet().trials[0].query.length, 4);
  assert.throws(() => open(`folder:${root}`, { cameraPattern: '_c\\d+' }), /has no group that is the camera/);
  assert.throws(
    () => open(`folder:${root}`, { cameraPattern: '(' }),
    /CAMERA_PATTERN: Invalid regular expression/,
  );
});

test('a manifest in CSV, with quotes, other delimiters and a byte order mark, or in JSONL', (t) => {
  const root = folderWith(t, ['a, b.jpg', 'sub/c.jpg', 'd.jpg', 'e.jpg']);
  write(
    root,
    'list.csv',
    '\ufeffpath,identity,camera,split,note\r\n"a, b.jpg",x,north,train,\r\n\r\nsub/c.jpg,y,north,query,"of\nit"\r\nd.jpg,y,south,gallery,\r\n',
  );
  write(
    root,
    'list.tsv',
    'split\tcamera\tidentity\tpath\ntrain\tnorth\tx\ta, b.jpg\nquery\tnorth\ty\tsub/c.jpg\ngallery\tsouth\ty\td.jpg\n',
  );
  write(
    root,
    'list.jsonl',
    [
      { path: join(root, 'a, b.jpg'), identity: 'x', camera: 'north', split: 'train' },
      { path: 'sub/c.jpg', identity: 'y', camera: 'north', split: 'query' },
      { path: 'd.jpg', identity: 'y', camera: 'south', split: 'gallery' },
    ]
      .map((row) => JSON.stringify(row))
      .join('\n'),
  );
  for (const file of ['list.csv', 'list.tsv', 'list.jsonl']) {
    const name = `manifest:${join(root, file)}`;
    const dataset = open(name);
    assert.deepEqual(dataset.train, [
      { imgPath: join(root, 'a, b.jpg'), pid: `${name}_x`, camid: `${name}_north` },
    ]);
    assert.deepEqual(dataset.testSet(), {
      images: [
        { imgPath: join(root, 'sub/c.jpg'), pid: 0, camid: 0 },
        { imgPath: join(root, 'd.jpg'), pid: 0, camid: 1 },
      ],
      trials: [{ query: [0], gallery: [1] }],
      cameras: true,
    });
  }
});

test('a manifest of paths and identities alone is divided; a picture named twice in query and gallery is one', (t) => {
  const root = folderWith(t, pictures(IDENTITIES, ['a.jpg', 'b.jpg']));
  const rows = pictures(IDENTITIES, ['a.jpg', 'b.jpg']).map((path) => `${path},${path.split('/')[0]}`);
  write(root, 'list.csv', ['path,identity', ...rows].join('\n'));
  const dataset = open(`manifest:${join(root, 'list.csv')}`);
  assert.equal(dataset.train.length, 10);
  assert.deepEqual(
    [dataset.testSet().cameras, dataset.query.length, dataset.gallery.length],
    [false, 10, 10],
  );

  const twice = ['cat 0/a.jpg,q,query', 'cat 0/a.jpg,q,gallery', 'cat 0/b.jpg,q,gallery'];
  write(root, 'twice.csv', ['path,identity,split', ...twice].join('\n'));
  const { images, trials } = open(`manifest:${join(root, 'twice.csv')}`).testSet();
  assert.deepEqual([images.length, trials], [2, [{ query: [0], gallery: [0, 1] }]]);
});

test('what is wrong in a manifest is named by its line', (t) => {
  const root = folderWith(t, ['a.jpg', 'b.jpg']);
  const reading = (text: string, file = 'list.csv') => {
    write(root, file, text);
    return () => open(`manifest:${join(root, file)}`).train;
  };
  assert.throws(
    () => open(`manifest:${join(root, 'none.csv')}`),
    /none.csv' does not exist.\nExpected: columns path/,
  );
  assert.throws(reading(''), /no pictures in it/);
  assert.throws(reading('path,id\na.jpg,1\n'), /line 2 has no identity \(its columns: path, id\)/);
  assert.throws(reading('path,identity\na.jpg,1\n\nlost.jpg,2\n'), /line 4: '.*lost.jpg' does not exist/);
  assert.throws(
    reading('path,identity,split\na.jpg,1,val\n'),
    /line 2: split is 'val', but can only be train, query/,
  );
  assert.throws(
    reading('path,identity,camera\na.jpg,1,c\nb.jpg,2,\n'),
    /line 2 has a camera, line 3 has none/,
  );
  assert.throws(
    reading('path,identity,split\na.jpg,1,\nb.jpg,2,train\n'),
    /line 3 has a split, line 2 has none/,
  );
  assert.throws(
    reading('path,identity,split\na.jpg,1,query\nb.jpg,2,train\n'),
    /query and gallery belong together/,
  );
  assert.throws(reading('path,identity\na.jpg,1,2,3\n'), /manifest:.*line 2/i);
  assert.throws(
    reading('{"path": "a.jpg", "identity": 1}\nnonsense\n', 'list.jsonl'),
    /line 2 is not a JSON object/,
  );
  assert.throws(
    reading('{"path": "a.jpg", "identity": [1]}\n', 'list.jsonl'),
    /line 1: identity must be text/,
  );
});

test('the loaders take them by name, with DATASETS.OWN in effect', async (t) => {
  const root = folderWith(t, []);
  for (const file of pictures(['1', '2', '3', '4'], ['a_k1.png', 'b_k2.png'])) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    const create = { width: 4, height: 8, channels: 3, background: '#204060' } as const;
    await sharp({ create }).png().toFile(join(root, file));
  }
  const cfg = getCfg().mergeFromList(
    `MODEL.DEVICE cpu SOLVER.IMS_PER_BATCH 2 INPUT.SIZE_TRAIN [8,4] INPUT.SIZE_TEST [8,4] INPUT.REA.ENABLED False \
     DATALOADER.NUM_WORKERS 1 DATASETS.OWN.TEST_SHARE 0.75 DATASETS.OWN.CAMERA_PATTERN _k(\\d)`.split(/\s+/),
  );
  cfg.DATASETS.NAMES = [`folder:${root}`];
  const quiet = { log: () => {}, seed: 0 };
  const train = buildReidTrainLoader(cfg, quiet);
  assert.deepEqual([train.dataset.length, train.dataset.numClasses, train.dataset.numCameras], [2, 1, 2]);
  const batch = await train.next();
  assert.deepEqual(batch?.images.shape, [2, 3, 8, 4]);
  batch?.dispose();
  await train.close();
  const { loader, numQuery, protocol, cameraName } = buildReidTestLoader(cfg, `folder:${root}`, quiet);
  assert.deepEqual([loader.dataset.length, numQuery, protocol.cameras], [6, 6, true]);
  assert.deepEqual([0, 1, 2].map(cameraName), ['1', '2', 2]);
  await loader.close();
});
