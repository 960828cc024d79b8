import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type DatasetOptions, ImageDataset, type ImageItem } from './base.js';

const PICTURE = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;
const NAME = /^(-?\d+)_c(\d+)/;

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
}

/**
 * Folders in Market-1501's shape: `bounding_box_train`, `query`, `bounding_box_test`, with pictures named
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
    const needed = ['bounding_box_train', 'query', 'bounding_box_test'].map((name) =>
      join(this.#folder, name),
    );
    this.require(needed, this.#help());
  }

  override get datasetName(): string {
    return this.#layout.datasetName;
  }

  protected override readTrain(): ImageItem[] {
    return this.#read('bounding_box_train').map((item) => this.named(item));
  }

  protected override readQuery(): ImageItem[] {
    return this.#read('query');
  }

  protected override readGallery(): ImageItem[] {
    return this.#read('bounding_box_test');
  }

  // Sorted, since the order in which a file system lists a folder would otherwise decide what a seed means.
  #read(subfolder: string): ImageItem[] {
    const folder = join(this.#folder, subfolder);
    const items: ImageItem[] = [];
    for (const name of readdirSync(folder).sort()) {
      if (!PICTURE.test(name)) continue;
      const match = NAME.exec(name);
      if (!match) {
        throw new Error(
          `${this.constructor.name}: '${join(folder, name)}' is not named <identity>_c<camera>…, ` +
            `for example 0002_c1s1_000451_03.jpg`,
        );
      }
      const pid = Number(match[1]);
      if (pid !== -1) items.push({ imgPath: join(folder, name), pid, camid: Number(match[2]) - 1 });
    }
    if (items.length === 0) throw new Error(`${this.constructor.name}: no pictures in '${folder}'`);
    return items;
  }

  #help(): string {
    return [
      'Expected layout:',
      `  ${join(this.root, this.#layout.folder)}/`,
      '    bounding_box_train/0002_c1s1_000451_03.jpg …',
      '    query/0001_c1s1_001051_00.jpg …',
      '    bounding_box_test/0001_c1s1_001051_03.jpg …',
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
