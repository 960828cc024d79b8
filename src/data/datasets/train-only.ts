import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type DatasetClass, type DatasetOptions, ImageDataset, type ImageItem } from './base.js';
import { filesBelow } from './files.js';

/** A data set that FastReID only trains on: how its files say who is on them. */
interface TrainOnlyLayout {
  /** Prefix of identities and cameras. */
  datasetName: string;
  /** Folder under the datasets root. */
  folder: string;
  /** Which files below the folder are its pictures: their paths, relative to it. */
  pictures: RegExp;
  /** What `pictures` look like; groups `pid` and, unless all are from one camera, `cam`. */
  name: RegExp;
  /** What the camera is called where there is only one. */
  oneCamera?: string;
  /** Identity from the match, where it is not simply the group `pid`. */
  pid?: (groups: Record<string, string>) => string;
  /** A path that fits, for messages. */
  example: string;
}

/** Layouts by the name that DATASETS.NAMES uses. Identities and cameras are named as FastReID names them. */
const LAYOUTS: Record<string, TrainOnlyLayout> = {
  CAVIARa: {
    datasetName: 'caviara',
    folder: 'CAVIARa',
    pictures: /^[^/]+\.jpg$/,
    name: /^(?<pid>.{4})/,
    oneCamera: 'cam0',
    example: '0001001.jpg',
  },
  cuhkSYSU: {
    datasetName: 'cuhksysu',
    folder: 'cuhk_sysu/cropped_images',
    pictures: /^[^/]+\.jpg$/,
    name: /p(?<pid>-?\d+)_s\d/,
    oneCamera: '0',
    pid: ({ pid }) => String(Number(pid)),
    example: 'p11422_s16929_1.jpg',
  },
  GRID: {
    datasetName: 'grid',
    folder: 'underground_reid/images',
    pictures: /^[^/]+\.jpeg$/,
    name: /^(?<pid>[^_]+)_(?<cam>[^_]+)/,
    example: '0001_1_25004_107_32_106_221.jpeg',
  },
  iLIDS: {
    datasetName: 'ilids',
    folder: 'iLIDS',
    pictures: /^[^/]+\/[^/]+\.png$/,
    name: /^(?<pid>[^/]+)\/(?<cam>[^_]+)/,
    example: 'person001/cam1_00001.png',
  },
  LPW: {
    datasetName: 'lpw',
    folder: 'pep_256x128/data_slim',
    pictures: /^scen[123]\/[^/]+\/[^/]+\/[^/]+\.jpg$/,
    name: /^(?<scene>scen\d)\/(?<cam>[^/]+)\/(?<pid>[^/]+)\//,
    pid: ({ scene, pid }) => `${scene}-${pid}`,
    example: 'scen1/view1/001/00001.jpg',
  },
  PeS3D: {
    datasetName: 'pes3d',
    folder: '3DPeS',
    pictures: /^[^/]+\/[^/]+\.bmp$/,
    name: /^(?<pid>[^/]+)\//,
    oneCamera: 'cam0',
    example: '001/1_1.bmp',
  },
  PKU: {
    datasetName: 'pku',
    folder: 'PKUv1a_128x48',
    pictures: /^[^/]+\.png$/,
    name: /^(?<pid>[^_]+)_(?<cam>[^_]+)/,
    example: '0001_A_1.png',
  },
  PRAI: {
    datasetName: 'prai',
    folder: 'PRAI-1581/images',
    pictures: /^[^/]+\.jpg$/,
    name: /^(?<pid>[^_]+)_(?<cam>[^_]+)/,
    example: '00000001_0001_00001.jpg',
  },
  PRID: {
    datasetName: 'prid',
    folder: 'prid_2011/slim_train',
    pictures: /\.png$/,
    name: /(?:^|\/)[^/_]*_(?<pid>[^/_]+)[^/]*\/(?<cam>[^/_]+)[^/]*$/,
    example: 'person_0001/cama_0001.png',
  },
  SAIVT: {
    datasetName: 'saivt',
    folder: 'SAIVT-SoftBio/cropped_images',
    pictures: /^[^/]+\/[^/]+\.jpeg$/,
    name: /^(?<pid>[^/]+)\/[^/-]*-[^/-]*-(?<cam>[^/-]+)/,
    example: '001/0001-001-C1.jpeg',
  },
  SenseReID: {
    datasetName: 'senseid',
    folder: 'SenseReID',
    pictures: /^test_(gallery|prob)\/[^/]+\.jpg$/,
    name: /\/(?<pid>[^/_]+)_(?<cam>[^/_.]+)/,
    example: 'test_prob/00001_0001.jpg',
  },
  Shinpuhkan: {
    datasetName: 'shinpuhkan',
    folder: 'shinpuhkan',
    pictures: /\.jpg$/,
    name: /(?:^|\/)(?<pid>[^/_]+)_[^/_]*_(?<cam>[^/_]+)[^/]*$/,
    example: '01/001_01_01_001.jpg',
  },
  SYSU_mm: {
    datasetName: 'sysumm01',
    folder: 'SYSU-MM01',
    pictures: /^cam[1245]\/[^/]+\/[^/]+\.jpg$/,
    name: /^(?<cam>cam\d)\/(?<pid>[^/]+)\//,
    example: 'cam1/0001/0001.jpg',
  },
  Thermalworld: {
    datasetName: 'thermalworld',
    folder: 'thermalworld_rgb',
    pictures: /^[^/]+\/[^/]+\.jpg$/,
    name: /^(?<pid>[^/]+)\//,
    oneCamera: 'cam0',
    example: '001/0001.jpg',
  },
  VIPeR: {
    datasetName: 'viper',
    folder: 'VIPeR',
    pictures: /^cam_[ab]\/[^/]+\.bmp$/,
    name: /^(?<cam>cam_[ab])\/(?<pid>[^/_]+)/,
    example: 'cam_a/000_45.bmp',
  },
  WildTrackCrop: {
    datasetName: 'wildtrack',
    folder: 'Wildtrack_crop_dataset/crop',
    pictures: /^[^/]+\/[^/]+\.png$/,
    name: /^(?<pid>[^/]+)\/(?<cam>[^_]+)/,
    example: '12/C1_00000000.png',
  },
};

/** A data set without query and gallery. */
abstract class TrainOnlyDataset extends ImageDataset {
  protected override readQuery(): ImageItem[] {
    return this.#refuse();
  }

  protected override readGallery(): ImageItem[] {
    return this.#refuse();
  }

  /** COMBINEALL has nothing to add here. */
  protected override get hasTest(): boolean {
    return false;
  }

  #refuse(): never {
    throw new Error(
      `${this.constructor.name} has no query and gallery: it can be in DATASETS.NAMES, not in TESTS`,
    );
  }
}

function trainOnly(layout: TrainOnlyLayout): DatasetClass {
  return class extends TrainOnlyDataset {
    override readonly datasetName = layout.datasetName;
    readonly #folder: string;

    constructor(options: DatasetOptions = {}) {
      super(options);
      this.#folder = join(this.root, layout.folder);
      const help = `Expected pictures as ${join(this.#folder, layout.example)}`;
      this.require([this.#folder], help);
    }

    protected override readTrain(): ImageItem[] {
      const { pictures, name, pid: pidOf, oneCamera, example } = layout;
      const items = filesBelow(this.#folder)
        .filter((path) => pictures.test(path))
        .map((path) => {
          const groups = name.exec(path)?.groups;
          const pid = groups && (pidOf?.(groups) ?? groups.pid);
          const camid = oneCamera ?? groups?.cam;
          const imgPath = join(this.#folder, path);
          if (pid === undefined || camid === undefined) {
            throw new Error(`${this.constructor.name}: '${imgPath}' is not named as ${example}`);
          }
          return this.named({ imgPath, pid, camid });
        });
      if (items.length > 0) return items;
      throw new Error(`${this.constructor.name}: no pictures as ${example} in '${this.#folder}'`);
    }
  };
}

/** The data sets that are only trained on, by name. */
export const TRAIN_ONLY: Record<string, DatasetClass> = Object.fromEntries(
  Object.entries(LAYOUTS).map(([name, layout]) => {
    const dataset = trainOnly(layout);
    Object.defineProperty(dataset, 'name', { value: name });
    return [name, dataset];
  }),
);

/**
 * Airport (Karanam et al. 2019): `filepath.txt` lists `<camera>\<identity>\<picture>`; identities below 11001 are
 * people seen by one camera only, and left out.
 */
export class AirportALERT extends TrainOnlyDataset {
  override readonly datasetName = 'airport';
  readonly #folder: string;

  constructor(options: DatasetOptions = {}) {
    super(options);
    this.#folder = join(this.root, 'AirportALERT');
    const list = join(this.#folder, 'filepath.txt');
    this.require([list], 'Expected there: the list of pictures, a line each, as cam1\\11001\\0001.jpg');
  }

  protected override readTrain(): ImageItem[] {
    const list = join(this.#folder, 'filepath.txt');
    const items: ImageItem[] = [];
    for (const { line, number } of this.linesOf(list)) {
      const parts = line.split('\\');
      const [camid, pid] = parts;
      if (parts.length < 3 || !/^\d+$/.test(pid)) {
        throw new Error(`AirportALERT: line ${number} of '${list}' is not <camera>\\<identity>\\<picture>`);
      }
      if (Number(pid) < 11001) continue;
      items.push(this.named({ imgPath: join(this.#folder, ...parts), pid, camid }));
    }
    if (items.length === 0) throw new Error(`AirportALERT: no pictures in '${list}'`);
    if (!existsSync(items[0].imgPath)) {
      throw new Error(`AirportALERT: '${items[0].imgPath}', the first picture of '${list}', does not exist`);
    }
    return items;
  }
}
