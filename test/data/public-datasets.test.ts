import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import { DATASET_REGISTRY, type ImageDataset, type ImageItem } from '../../src/data/datasets/index.js';

/** A datasets root that holds the files: empty ones, or with the given text. */
function rootWith(t: TestContext, files: readonly (string | [path: string, text: string])[]): string {
  const root = mkdtempSync(join(tmpdir(), 'reid-datasets-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const file of files) {
    const [path, text] = typeof file === 'string' ? [file, ''] : file;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

function open(name: string, root: string, combineAll = false): ImageDataset {
  return new (DATASET_REGISTRY.get(name))({ root, combineAll });
}

const plain = (root: string, items: readonly ImageItem[]): unknown[] =>
  items.map(({ imgPath, pid, camid }) => [relative(root, imgPath), pid, camid]);

interface TrainOnly {
  files: (string | [string, string])[];
  /** Of the last file: identity and camera. */
  train: [path: string, pid: string, camid: string][];
  /** A file that is taken for a picture, but whose name does not say who is on it. */
  odd?: string;
}

const TRAIN_ONLY: Record<string, TrainOnly> = {
  AirportALERT: {
    files: [
      ['AirportALERT/filepath.txt', 'cam2\\11001\\0001.jpg\r\ncam2\\10999\\0001.jpg\n'],
      'AirportALERT/cam2/11001/0001.jpg',
    ],
    train: [['AirportALERT/cam2/11001/0001.jpg', 'airport_11001', 'airport_cam2']],
  },
  CAVIARa: {
    files: ['CAVIARa/0001001.jpg', 'CAVIARa/0002003.jpg', 'CAVIARa/readme.txt'],
    train: [
      ['CAVIARa/0001001.jpg', 'caviara_0001', 'caviara_cam0'],
      ['CAVIARa/0002003.jpg', 'caviara_0002', 'caviara_cam0'],
    ],
  },
  cuhkSYSU: {
    files: ['cuhk_sysu/cropped_images/p00012_s16929_1.jpg'],
    train: [['cuhk_sysu/cropped_images/p00012_s16929_1.jpg', 'cuhksysu_12', 'cuhksysu_0']],
    odd: 'cuhk_sysu/cropped_images/x.jpg',
  },
  GRID: {
    files: ['underground_reid/images/0001_2_25004_107_32_106_221.jpeg'],
    train: [['underground_reid/images/0001_2_25004_107_32_106_221.jpeg', 'grid_0001', 'grid_2']],
    odd: 'underground_reid/images/x.jpeg',
  },
  iLIDS: {
    files: ['iLIDS/person001/cam1_00001.png'],
    train: [['iLIDS/person001/cam1_00001.png', 'ilids_person001', 'ilids_cam1']],
  },
  LPW: {
    files: ['pep_256x128/data_slim/scen2/view1/003/00001.jpg', 'pep_256x128/data_slim/scen4/view1/003/1.jpg'],
    train: [['pep_256x128/data_slim/scen2/view1/003/00001.jpg', 'lpw_scen2-003', 'lpw_view1']],
  },
  PeS3D: {
    files: ['3DPeS/001/1_1.bmp'],
    train: [['3DPeS/001/1_1.bmp', 'pes3d_001', 'pes3d_cam0']],
  },
  PKU: {
    files: ['PKUv1a_128x48/0001_A_1.png'],
    train: [['PKUv1a_128x48/0001_A_1.png', 'pku_0001', 'pku_A']],
    odd: 'PKUv1a_128x48/x.png',
  },
  PRAI: {
    files: ['PRAI-1581/images/00000001_0002_00001.jpg'],
    train: [['PRAI-1581/images/00000001_0002_00001.jpg', 'prai_00000001', 'prai_0002']],
    odd: 'PRAI-1581/images/x.jpg',
  },
  PRID: {
    files: ['prid_2011/slim_train/cam_a/person_0001/cama_0001.png'],
    train: [['prid_2011/slim_train/cam_a/person_0001/cama_0001.png', 'prid_0001', 'prid_cama']],
    odd: 'prid_2011/slim_train/x.png',
  },
  SAIVT: {
    files: ['SAIVT-SoftBio/cropped_images/001/0001-001-C3-0002.jpeg'],
    train: [['SAIVT-SoftBio/cropped_images/001/0001-001-C3-0002.jpeg', 'saivt_001', 'saivt_C3']],
    odd: 'SAIVT-SoftBio/cropped_images/001/x.jpeg',
  },
  SenseReID: {
    files: ['SenseReID/test_prob/00001_0002.jpg', 'SenseReID/other/00001_0003.jpg'],
    train: [['SenseReID/test_prob/00001_0002.jpg', 'senseid_00001', 'senseid_0002']],
    odd: 'SenseReID/test_prob/x.jpg',
  },
  Shinpuhkan: {
    files: ['shinpuhkan/images/01/001_01_02_003.jpg'],
    train: [['shinpuhkan/images/01/001_01_02_003.jpg', 'shinpuhkan_001', 'shinpuhkan_02']],
    odd: 'shinpuhkan/x.jpg',
  },
  SYSU_mm: {
    files: ['SYSU-MM01/cam1/0002/0001.jpg', 'SYSU-MM01/cam3/0002/0001.jpg'],
    train: [['SYSU-MM01/cam1/0002/0001.jpg', 'sysumm01_0002', 'sysumm01_cam1']],
  },
  Thermalworld: {
    files: ['thermalworld_rgb/001/0001.jpg'],
    train: [['thermalworld_rgb/001/0001.jpg', 'thermalworld_001', 'thermalworld_cam0']],
  },
  VIPeR: {
    files: ['VIPeR/cam_a/000_45.bmp', 'VIPeR/cam_b/000_90.bmp'],
    train: [
      ['VIPeR/cam_a/000_45.bmp', 'viper_000', 'viper_cam_a'],
      ['VIPeR/cam_b/000_90.bmp', 'viper_000', 'viper_cam_b'],
    ],
  },
  WildTrackCrop: {
    files: ['Wildtrack_crop_dataset/crop/12/C1_00000000.png'],
    train: [['Wildtrack_crop_dataset/crop/12/C1_00000000.png', 'wildtrack_12', 'wildtrack_C1']],
    odd: 'Wildtrack_crop_dataset/crop/12/_.png',
  },
};

for (const [name, { files, train, odd }] of Object.entries(TRAIN_ONLY)) {
  test(`${name} is read for training`, (t) => {
    const root = rootWith(t, files);
    assert.deepEqual(plain(root, open(name, root).train), train);
    assert.deepEqual(plain(root, open(name, root, true).train), train, 'COMBINEALL adds nothing');
    assert.throws(() => open(name, root).query, new RegExp(`${name} has no query and gallery`));
    assert.throws(
      () => open(name, rootWith(t, [])),
      new RegExp(`${name}: '.*' does not exist\\.\\nExpected`),
    );
    if (odd !== undefined) {
      assert.throws(() => open(name, rootWith(t, [odd])).train, /is not named as .*\d/);
    }
  });
}

test('a training folder without pictures, and a list that is wrong, are named', (t) => {
  const empty = rootWith(t, ['CAVIARa/readme.txt']);
  assert.throws(() => open('CAVIARa', empty).train, /CAVIARa: no pictures as 0001001.jpg in '.*CAVIARa'/);
  const list = rootWith(t, [['AirportALERT/filepath.txt', '\ncam2/11001/0001.jpg\n']]);
  assert.throws(() => open('AirportALERT', list).train, /line 2 of '.*filepath.txt' is not <camera>/);
  const lost = rootWith(t, [['AirportALERT/filepath.txt', 'cam2\\11001\\1.jpg']]);
  assert.throws(() => open('AirportALERT', lost).train, /1.jpg', the first picture of .* does not exist/);
});

test('DukeMTMC and VeRi are read as Market-1501 is', (t) => {
  const root = rootWith(t, [
    'DukeMTMC-reID/bounding_box_train/0001_c2_f0046302.jpg',
    'DukeMTMC-reID/query/0005_c8_f0046985.jpg',
    'DukeMTMC-reID/bounding_box_test/0005_c5_f0046985.jpg',
    'veri/image_train/0001_c001_00016450_0.jpg',
    'veri/image_query/0002_c002_00030600_0.jpg',
    'veri/image_test/0002_c020_00030600_1.jpg',
  ]);
  const duke = open('DukeMTMC', root);
  assert.deepEqual(plain(root, [...duke.train, ...duke.query, ...duke.gallery]), [
    ['DukeMTMC-reID/bounding_box_train/0001_c2_f0046302.jpg', 'dukemtmc_1', 'dukemtmc_1'],
    ['DukeMTMC-reID/query/0005_c8_f0046985.jpg', 5, 7],
    ['DukeMTMC-reID/bounding_box_test/0005_c5_f0046985.jpg', 5, 4],
  ]);
  const veri = open('VeRi', root);
  assert.deepEqual(plain(root, [...veri.train, ...veri.query, ...veri.gallery]), [
    ['veri/image_train/0001_c001_00016450_0.jpg', 'veri_1', 'veri_0'],
    ['veri/image_query/0002_c002_00030600_0.jpg', 2, 1],
    ['veri/image_test/0002_c020_00030600_1.jpg', 2, 19],
  ]);
  const { images, trials, cameras } = veri.testSet();
  assert.deepEqual([images.length, trials, cameras], [2, [{ query: [0], gallery: [1] }], true]);
});

for (const [version, train, test_] of [
  ['MSMT17_V1', 'train', 'test'],
  ['MSMT17_V2', 'mask_train_v2', 'mask_test_v2'],
]) {
  test(`${version} is read by its lists`, (t) => {
    const root = rootWith(t, [
      `${version}/${train}/.keep`,
      `${version}/${test_}/.keep`,
      [`${version}/list_train.txt`, '0000/0000_000_01_0303morning_0008_0.jpg 0\n'],
      [`${version}/list_val.txt`, '0001/0001_000_05_0303morning_0008_0.jpg 1\n'],
      [`${version}/list_query.txt`, '0000/0000_000_15_0303morning_0036_0.jpg 0\n'],
      [`${version}/list_gallery.txt`, '0000/0000_001_02_0303morning_0036_0.jpg 0\r\n'],
    ]);
    const dataset = open('MSMT17', root);
    const first = `${version}/${train}/0000/0000_000_01_0303morning_0008_0.jpg`;
    assert.deepEqual(plain(root, dataset.train), [[first, 'msmt17_0', 'msmt17_0']]);
    assert.deepEqual(plain(root, [...dataset.query, ...dataset.gallery]), [
      [`${version}/${test_}/0000/0000_000_15_0303morning_0036_0.jpg`, 0, 14],
      [`${version}/${test_}/0000/0000_001_02_0303morning_0036_0.jpg`, 0, 1],
    ]);
    assert.deepEqual(
      open('MSMT17', root, true).train.map(({ pid }) => pid),
      ['msmt17_0', 'msmt17_1', 'msmt17_test_0', 'msmt17_test_0'],
    );
    writeFileSync(join(root, version, 'list_query.txt'), 'nonsense\n');
    assert.throws(() => open('MSMT17', root).query, /line 1 of '.*list_query.txt' is not/);
  });
}

test('VehicleID has ten draws of one gallery picture a vehicle, always the same', (t) => {
  const numbers = Array.from({ length: 12 }, (_, i) => i);
  const list = numbers.map((i) => `${String(i).padStart(7, '0')} ${100 + (i % 3)}`).join('\n');
  const root = rootWith(t, [
    'vehicleid/image/.keep',
    ['vehicleid/train_test_split/train_list.txt', '0000100 7\n'],
    ['vehicleid/train_test_split/test_list_800.txt', list],
    ['vehicleid/train_test_split/test_list_1600.txt', '1 2 3'],
  ]);
  const dataset = open('SmallVehicleID', root);
  const picture = 'vehicleid/image/0000100.jpg';
  assert.deepEqual(plain(root, dataset.train), [[picture, 'vehicleid_7', 'vehicleid_100']]);
  const { images, trials } = dataset.testSet();
  assert.equal(images.length, 12);
  assert.equal(trials.length, 10);
  for (const { query, gallery } of trials) {
    assert.deepEqual(gallery.map((i) => images[i].pid).sort(), [100, 101, 102]);
    assert.deepEqual(
      [...query, ...gallery].sort((a, b) => a - b),
      numbers,
    );
  }
  const draws = trials.map(({ gallery }) => gallery.join(' '));
  assert.ok(new Set(draws).size > 5, 'the draws differ');
  assert.deepEqual(
    open('SmallVehicleID', root)
      .testSet()
      .trials.map(({ gallery }) => gallery.join(' ')),
    draws,
  );
  assert.equal(dataset.gallery.length, 3);
  assert.equal(dataset.query.length, 9);
  assert.throws(() => open('MediumVehicleID', root).query, /line 1 of '.*test_list_1600.txt' is not/);
  assert.throws(() => open('LargeVehicleID', root).query, /test_list_2400.txt' does not exist/);
});

test('VERI-Wild is read by its lists, cameras from vehicle_info.txt', (t) => {
  const split = 'VERI-Wild/train_test_split';
  const root = rootWith(t, [
    'VERI-Wild/images/.keep',
    [
      `${split}/vehicle_info.txt`,
      'id/image;Camera ID;Time;Model;Type;Color\n00001/000001;18;2018-03-15;;;\n00002/000002;7;;;;\n',
    ],
    [`${split}/train_list.txt`, '00001/000001.jpg\n'],
    [`${split}/test_3000_query.txt`, '00002/000002.jpg\n'],
    [`${split}/test_3000.txt`, '00002/000009.jpg\n'],
  ]);
  const dataset = open('SmallVeRiWild', root);
  const train = 'VERI-Wild/images/00001/000001.jpg';
  assert.deepEqual(plain(root, dataset.train), [[train, 'veriwild_1', 'veriwild_18']]);
  assert.deepEqual(plain(root, dataset.query), [['VERI-Wild/images/00002/000002.jpg', 2, 7]]);
  assert.throws(() => dataset.gallery, /does not name the camera of 00002\/000009.jpg \(line 1/);
  assert.throws(() => open('MediumVeRiWild', root).query, /test_5000_query.txt' does not exist/);
});

test('an empty list is named', (t) => {
  const root = rootWith(t, [
    'MSMT17_V1/train/.keep',
    'MSMT17_V1/test/.keep',
    ...['train', 'val', 'query', 'gallery'].map((name): [string, string] => [
      `MSMT17_V1/list_${name}.txt`,
      '\n',
    ]),
    'vehicleid/image/.keep',
    'vehicleid/train_test_split/train_list.txt',
    'VERI-Wild/images/.keep',
    'VERI-Wild/train_test_split/train_list.txt',
    'VERI-Wild/train_test_split/vehicle_info.txt',
    'AirportALERT/filepath.txt',
  ]);
  for (const [name, list] of [
    ['MSMT17', 'list_train.txt'],
    ['VehicleID', 'train_list.txt'],
    ['VeRiWild', 'train_list.txt'],
    ['AirportALERT', 'filepath.txt'],
  ]) {
    assert.throws(() => open(name, root).train, new RegExp(`${name}: '.*${list}' lists no pictures`));
  }
});

test('COMBINEALL adds every test picture once: of VehicleID those of all vehicles', (t) => {
  const root = rootWith(t, [
    'vehicleid/image/.keep',
    ['vehicleid/train_test_split/train_list.txt', '0000100 7\n'],
    ['vehicleid/train_test_split/test_list_800.txt', '1 100\n2 100\n3 101\n4 101\n5 101\n'],
  ]);
  const { train } = open('SmallVehicleID', root, true);
  assert.deepEqual(
    train.map(({ pid }) => pid),
    ['vehicleid_7', ...[100, 100, 101, 101, 101].map((pid) => `vehicleid_test_${pid}`)],
  );
});
