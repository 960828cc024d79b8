import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type DatasetOptions, ImageDataset, type ImageItem } from './base.js';

const VERSIONS = [
  { folder: 'MSMT17_V1', train: 'train', test: 'test' },
  { folder: 'MSMT17_V2', train: 'mask_train_v2', test: 'mask_test_v2' },
];

/**
 * MSMT17 (Wei et al., CVPR 2018), version 1 or 2, as its four lists say: 1,041 identities and 30,248 pictures to
 * train (32,621 with the validation list, which COMBINEALL adds), 11,659 queries, 82,161 gallery pictures, 15 cameras.
 */
export class MSMT17 extends ImageDataset {
  override readonly datasetName = 'msmt17';
  readonly #folder: string;
  readonly #train: string;
  readonly #test: string;

  constructor(options: DatasetOptions = {}) {
    super(options);
    const folders = VERSIONS.map(({ folder }) => join(this.root, folder));
    const version = VERSIONS.find((_, i) => existsSync(folders[i])) ?? VERSIONS[0];
    this.#folder = join(this.root, version.folder);
    this.#train = join(this.#folder, version.train);
    this.#test = join(this.#folder, version.test);
    const lists = ['train', 'val', 'query', 'gallery'].map((name) => this.#list(name));
    this.require([this.#train, this.#test, ...lists], this.#help());
  }

  protected override readTrain(): ImageItem[] {
    const names = this.combineAll ? ['train', 'val'] : ['train'];
    return names.flatMap((name) => this.#read(name, this.#train)).map((item) => this.named(item));
  }

  protected override readQuery(): ImageItem[] {
    return this.#read('query', this.#test);
  }

  protected override readGallery(): ImageItem[] {
    return this.#read('gallery', this.#test);
  }

  #list(name: string): string {
    return join(this.#folder, `list_${name}.txt`);
  }

  #read(name: string, folder: string): ImageItem[] {
    const list = this.#list(name);
    return this.linesOf(list).map(({ line, number }) => {
      const match = /^(\S+) (\d+)$/.exec(line);
      const camera = match?.[1].split('_')[2];
      if (match === null || camera === undefined || !/^\d+$/.test(camera)) {
        throw new Error(
          `MSMT17: line ${number} of '${list}' is not '<identity>/<identity>_<number>_<camera>_….jpg <identity>'`,
        );
      }
      return { imgPath: join(folder, match[1]), pid: Number(match[2]), camid: Number(camera) - 1 };
    });
  }

  #help(): string {
    return [
      'Expected layout (or MSMT17_V2 with mask_train_v2 and mask_test_v2):',
      `  ${join(this.root, 'MSMT17_V1')}/`,
      '    train/0000/0000_000_01_0303morning_0008_0.jpg …',
      '    test/0000/0000_000_01_0303morning_0036_0.jpg …',
      '    list_train.txt list_val.txt list_query.txt list_gallery.txt',
    ].join('\n');
  }
}
