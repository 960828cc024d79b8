import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type MatlabValue, readMatlab } from '../matlab.js';
import {
  type DatasetClass,
  type DatasetOptions,
  ImageDataset,
  type ImageItem,
  type TestSet,
} from './base.js';

/** Folder under the datasets root. */
export const CUHK03_FOLDER = 'cuhk03';
/** How the boxes around people were found: drawn by hand, or by a detector. */
export type Boxes = 'labeled' | 'detected';

/** In that folder, made of cuhk-03.mat: for each classic split its test identities, as [place, identity]. */
export const CLASSIC_TEST_SETS = 'classic_testsets.json';

/** Place, identity there, camera of the place, number. */
const PICTURE = /^(\d+)_(\d+)_(?<camera>[12])_\d+\.png$/;

/** A division of the pictures, as an authors' file has it: all pictures, and numbers in that list, from 1. */
interface Protocol {
  names: string[];
  identities: number[];
  train: number[];
  query: number[];
  gallery: number[];
}

/** What both protocols have in common: where pictures are, and cameras by their names. */
abstract class Cuhk03Pictures extends ImageDataset {
  override readonly datasetName = 'cuhk03';
  protected readonly boxes: Boxes;

  /** Throws when files are missing. */
  constructor(boxes: Boxes, options: DatasetOptions = {}) {
    super(options);
    this.boxes = boxes;
    this.require([this.images, this.listPath], this.#help());
  }

  /** File in the set's folder that divides it, and where it comes from. */
  protected abstract get list(): { file: string; origin: string };

  get #folder(): string {
    return join(this.root, CUHK03_FOLDER);
  }

  protected get listPath(): string {
    return join(this.#folder, this.list.file);
  }

  protected get images(): string {
    return join(this.#folder, `images_${this.boxes}`);
  }

  protected item(name: string, pid: number): ImageItem {
    const camera = PICTURE.exec(name)?.groups?.camera;
    if (camera === undefined) throw new Error(`${this.title}: picture '${name}' is not named 1_001_1_01.png`);
    return { imgPath: join(this.images, name), pid, camid: Number(camera) - 1 };
  }

  #help(): string {
    return [
      'Expected layout:',
      `  ${this.#folder}/`,
      `    images_${this.boxes}/1_001_1_01.png …`,
      `    ${this.list.file} (${this.list.origin})`,
      'The pictures are made from cuhk03_release/cuhk-03.mat by `reid-native prepare cuhk03`.',
    ].join('\n');
  }
}

/**
 * CUHK03 (Li et al., CVPR 2014) by the new protocol (Zhong et al., CVPR 2017): 767 identities to train on, 700 to test
 * on, two cameras (a pair at five places). Labelled: 7,368 pictures to train on, 1,400 queries, 5,328 gallery pictures;
 * detected: 7,365, 1,400, 5,332.
 */
class Cuhk03NewProtocol extends Cuhk03Pictures {
  #protocol: Protocol | undefined;

  protected get list(): { file: string; origin: string } {
    return {
      file: `cuhk03_new_protocol_config_${this.boxes}.mat`,
      origin: 'from the authors of k-reciprocal re-ranking',
    };
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
    return numbers.map((number) => this.item(names[number - 1], identities[number - 1]));
  }

  #read(): Protocol {
    this.#protocol ??= readProtocol(this.listPath);
    return this.#protocol;
  }
}

/**
 * CUHK03 as its authors divide it, in twenty ways: 100 identities to test on, all others to train on. Every test
 * picture is a query, and the gallery is all of them; the authors' figures take one gallery picture of each identity
 * (TEST.SINGLE_SHOT). Identities are numbered as FastReID's classic split does.
 */
class Cuhk03Classic extends Cuhk03Pictures {
  static readonly splits = 20;
  readonly #split: number;

  constructor(boxes: Boxes, options: DatasetOptions = {}) {
    super(boxes, options);
    this.#split = options.split ?? 0;
  }

  protected get list(): { file: string; origin: string } {
    return { file: CLASSIC_TEST_SETS, origin: 'made of cuhk-03.mat too' };
  }

  protected override readTrain(): ImageItem[] {
    return this.#read(false).map((item) => this.named(item));
  }

  protected override readQuery(): ImageItem[] {
    return this.#read(true);
  }

  protected override readGallery(): ImageItem[] {
    return this.query.slice();
  }

  override testSet(): TestSet {
    const at = this.query.map((_, i) => i);
    return { images: this.query, trials: [{ query: at, gallery: at }], cameras: true };
  }

  #read(tested: boolean): ImageItem[] {
    const splits = JSON.parse(readFileSync(this.listPath, 'utf8')) as [place: number, identity: number][][];
    const testSet = new Set(splits[this.#split].map(String));
    const numbers = new Map<string, number>();
    return readdirSync(this.images)
      .sort()
      .flatMap((name) => {
        const match = PICTURE.exec(name);
        if (match === null) return [];
        const person = String([Number(match[1]), Number(match[2])]);
        if (testSet.has(person) !== tested) return [];
        if (!numbers.has(person)) numbers.set(person, numbers.size);
        return [this.item(name, numbers.get(person)!)];
      });
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

/** By the name that DATASETS uses; FastReID's CUHK03 is the labelled one, by the new protocol. */
export const CUHK03: Record<string, DatasetClass> = {
  CUHK03: class CUHK03 extends Cuhk03NewProtocol {
    constructor(options?: DatasetOptions) {
      super('labeled', options);
    }
  },
  CUHK03Detected: class CUHK03Detected extends Cuhk03NewProtocol {
    constructor(options?: DatasetOptions) {
      super('detected', options);
    }
  },
  CUHK03Classic: class CUHK03Classic extends Cuhk03Classic {
    constructor(options?: DatasetOptions) {
      super('labeled', options);
    }
  },
  CUHK03ClassicDetected: class CUHK03ClassicDetected extends Cuhk03Classic {
    constructor(options?: DatasetOptions) {
      super('detected', options);
    }
  },
};
