import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type DatasetOptions, ImageDataset, type ImageItem } from './base.js';
import { isPicture } from './files.js';

/** What tells one folder in Market-1501's shape from another. */
export interface MarketFolder {
  /** Prefix of training identities. */
  datasetName: string;
  /** Folder under the root that holds the three subfolders. */
  folder: string;
  /** Whether the three may also lie in the root itself. */
  alsoInRoot?: boolean;
  /** Where the pictures come from, for the message when they are missing. */
  howToGet: string;
  /** Names of the subfolders, where they are not Market-1501's. */
  subfolders?: { train: string; query: string; gallery: string };
  /** How a picture's name begins, identity and camera in groups, and one that fits. */
  naming?: { pattern: RegExp; says: string; example: string };
}

const SUBFOLDERS = { train: 'bounding_box_train', query: 'query', gallery: 'bounding_box_test' };
const NAMING = {
  pattern: /^(-?\d+)_c(\d+)/,
  says: '<identity>_c<camera>…',
  example: '0002_c1s1_000451_03.jpg',
};

/**
 * Folders in Market-1501's shape: one each for training, query and gallery, with pictures named
 * `<identity>_c<camera>…`, for example `0002_c1s1_000451_03.jpg`. Identity −1 (junk) is skipped; identity 0 (a
 * distractor) stays in the gallery, where it matches no query. Cameras count from 1 in names, from 0 here.
 */
export abstract class MarketLayout extends ImageDataset {
  override readonly junkPids = [0, -1];
  readonly #layout: MarketFolder;
  readonly #folder: string;

  constructor(layout: MarketFolder, options: DatasetOptions = {}) {
    super(options);
    this.#layout = layout;
    const own = join(this.root, layout.folder);
    this.#folder =
      layout.alsoInRoot && !existsSync(own) && existsSync(join(this.root, 'query')) ? this.root : own;
    const needed = Object.values(this.#subfolders).map((name) => join(this.#folder, name));
    this.require(needed, this.#help());
  }

  get #subfolders(): typeof SUBFOLDERS {
    return this.#layout.subfolders ?? SUBFOLDERS;
  }

  get #naming(): typeof NAMING {
    return this.#layout.naming ?? NAMING;
  }

  override get datasetName(): string {
    return this.#layout.datasetName;
  }

  protected override readTrain(): ImageItem[] {
    return this.#read(this.#subfolders.train).map((item) => this.named(item));
  }

  protected override readQuery(): ImageItem[] {
    return this.#read(this.#subfolders.query);
  }

  protected override readGallery(): ImageItem[] {
    return this.#read(this.#subfolders.gallery);
  }

  // Sorted, since the order in which a file system lists a folder would otherwise decide what a seed means.
  #read(subfolder: string): ImageItem[] {
    const folder = join(this.#folder, subfolder);
    const { pattern, says, example } = this.#naming;
    const items: ImageItem[] = [];
    for (const name of readdirSync(folder).sort()) {
      if (!isPicture(name)) continue;
      const match = pattern.exec(name);
      if (!match) {
        throw new Error(
          `${this.constructor.name}: '${join(folder, name)}' is not named ${says}, for example ${example}`,
        );
      }
      const pid = Number(match[1]);
      if (pid !== -1) items.push({ imgPath: join(folder, name), pid, camid: Number(match[2]) - 1 });
    }
    if (items.length === 0) throw new Error(`${this.constructor.name}: no pictures in '${folder}'`);
    return items;
  }

  #help(): string {
    const { example } = this.#naming;
    return [
      'Expected layout:',
      `  ${join(this.root, this.#layout.folder)}/`,
      ...Object.values(this.#subfolders).map((name) => `    ${name}/${example} …`),
      `${this.#layout.howToGet}`,
      'Datasets are looked for under $FASTREID_DATASETS, else ./datasets.',
    ].join('\n');
  }
}

/**
 * Market-1501 (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015): 751 identities and
 * 12,936 pictures to train, 3,368 queries, 15,913 gallery pictures without junk, 6 cameras.
 */
export class Market1501 extends MarketLayout {
  constructor(options: DatasetOptions = {}) {
    super(
      {
        datasetName: 'market1501',
        folder: 'Market-1501-v15.09.15',
        alsoInRoot: true,
        howToGet: 'Unpack Market-1501-v15.09.15.zip there, or put your own pictures there under such names.',
      },
      options,
    );
  }
}

/**
 * DukeMTMC-reID (Ristani et al. 2016; Zheng et al. 2017): 702 identities and 16,522 pictures to train, 2,228 queries,
 * 17,661 gallery pictures, 8 cameras. Its authors have withdrawn it; who has it, can use it.
 */
export class DukeMTMC extends MarketLayout {
  constructor(options: DatasetOptions = {}) {
    super(
      { datasetName: 'dukemtmc', folder: 'DukeMTMC-reID', howToGet: 'Unpack DukeMTMC-reID.zip there.' },
      options,
    );
  }
}

/**
 * VeRi-776 (Liu et al., "PROVID", 2018): 576 vehicles and 37,778 pictures to train, 1,678 queries, 11,579 gallery
 * pictures, 20 cameras.
 */
export class VeRi extends MarketLayout {
  constructor(options: DatasetOptions = {}) {
    super(
      {
        datasetName: 'veri',
        folder: 'veri',
        subfolders: { train: 'image_train', query: 'image_query', gallery: 'image_test' },
        naming: {
          pattern: /^(-?\d+)_c(\d{3})/,
          says: '<vehicle>_c<camera, three digits>…',
          example: '0001_c001_00016450_0.jpg',
        },
        howToGet: 'Unpack VeRi.zip (https://vehiclereid.github.io/VeRi/) there.',
      },
      options,
    );
  }
}
