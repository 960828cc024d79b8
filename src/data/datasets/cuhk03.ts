import { join } from 'node:path';
import { type MatlabValue, readMatlab } from '../matlab.js';
import { type DatasetClass, type DatasetOptions, ImageDataset, type ImageItem } from './base.js';

/** Folder under the datasets root. */
export const CUHK03_FOLDER = 'cuhk03';
/** How the boxes around people were found: drawn by hand, or by a detector. */
export type Boxes = 'labeled' | 'detected';

/** A division of the pictures, as an authors' file has it: all pictures, and numbers in that list, from 1. */
interface Protocol {
  names: string[];
  identities: number[];
  train: number[];
  query: number[];
  gallery: number[];
}

/**
 * CUHK03 (Li et al., CVPR 2014) by the new protocol (Zhong et al., CVPR 2017): 767 identities to train on, 700 to test
 * on, two cameras (a pair at five places). Labelled: 7,368 pictures to train on, 1,400 queries, 5,328 gallery pictures;
 * detected: 7,365, 1,400, 5,332.
 */
export abstract class Cuhk03Boxes extends ImageDataset {
  override readonly datasetName = 'cuhk03';
  protected abstract readonly boxes: Boxes;
  #protocol: Protocol | undefined;

  get #folder(): string {
    return join(this.root, CUHK03_FOLDER);
  }

  get #list(): string {
    return join(this.#folder, `cuhk03_new_protocol_config_${this.boxes}.mat`);
  }

  get #images(): string {
    return join(this.#folder, `images_${this.boxes}`);
  }

  protected override readTrain(): ImageItem[] {
    const { train, identities } = this.#read();
    const pids = [...new Set(train.map((i) => identities[i - 1]))].sort((a, b) => a - b);
    // Numbered as FastReID does, so that classes are in the same order.
    const label = new Map(pids.map((pid, i) => [pid, i]));
    return this.#items('train').map((item) => this.named({ ...item, pid: label.get(Number(item.pid))! }));
  }

  protected override readQuery(): ImageItem[] {
    return this.#items('query');
  }

  protected override readGallery(): ImageItem[] {
    return this.#items('gallery');
  }

  #items(part: 'train' | 'query' | 'gallery'): ImageItem[] {
    const { names, identities, [part]: numbers } = this.#read();
    return numbers.map((number) => {
      const name = names[number - 1];
      const camera = /^\d+_\d+_([12])_\d+\.png$/.exec(name)?.[1];
      if (camera === undefined) {
        throw new Error(
          `${this.title}: the protocol's picture ${number}, '${name}', is not named 1_001_1_01.png`,
        );
      }
      return { imgPath: join(this.#images, name), pid: identities[number - 1], camid: Number(camera) - 1 };
    });
  }

  /** Throws when files are missing. */
  protected check(): void {
    this.require([this.#images, this.#list], this.#help());
  }

  #read(): Protocol {
    this.#protocol ??= readProtocol(this.#list);
    return this.#protocol;
  }

  #help(): string {
    return [
      'Expected layout:',
      `  ${this.#folder}/`,
      `    images_${this.boxes}/1_001_1_01.png …`,
      `    cuhk03_new_protocol_config_${this.boxes}.mat (from the authors of k-reciprocal re-ranking)`,
      'The pictures are made from cuhk03_release/cuhk-03.mat by `reid-native prepare cuhk03`.',
    ].join('\n');
  }
}

function readProtocol(file: string): Protocol {
  const variables = readMatlab(file);
  const get = <K extends MatlabValue['kind']>(name: string, kind: K): MatlabValue & { kind: K } => {
    const value = variables.get(name);
    if (value?.kind === kind) return value as MatlabValue & { kind: K };
    throw new Error(`'${file}' is no protocol of CUHK03: it has no ${kind} called ${name}`);
  };
  const names = get('filelist', 'cells').cells.map((cell) => (cell.kind === 'text' ? cell.rows[0] : ''));
  const indices = (name: string): number[] => {
    const { values } = get(name, 'numbers');
    const odd = values.find((i) => !Number.isInteger(i) || i < 1 || i > names.length);
    if (odd === undefined) return values;
    throw new Error(`'${file}': ${name} asks for picture ${odd}, but there are ${names.length}`);
  };
  const identities = get('labels', 'numbers').values;
  if (identities.length !== names.length) {
    throw new Error(`'${file}': ${identities.length} labels for ${names.length} pictures`);
  }
  const [train, query, gallery] = ['train_idx', 'query_idx', 'gallery_idx'].map(indices);
  return { names, identities, train, query, gallery };
}

function dataset(name: string, boxes: Boxes): DatasetClass {
  const one = class extends Cuhk03Boxes {
    protected override readonly boxes = boxes;

    constructor(options: DatasetOptions = {}) {
      super(options);
      this.check();
    }
  };
  Object.defineProperty(one, 'name', { value: name });
  return one;
}

/** By the name that DATASETS uses; FastReID's CUHK03 is the labelled one. */
export const CUHK03: Record<string, DatasetClass> = {
  CUHK03: dataset('CUHK03', 'labeled'),
  CUHK03Detected: dataset('CUHK03Detected', 'detected'),
};
