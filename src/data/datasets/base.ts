import { existsSync } from 'node:fs';
import type { Label } from '../labels.js';
import { numberedLines } from './files.js';
import { pipeTable } from './table.js';

/** One picture of a dataset. */
export interface ImageItem {
  readonly imgPath: string;
  /** Identity: a string such as `Market1501`'s `market1501_2` in training sets, a number in query and gallery. */
  readonly pid: Label;
  /** Camera, named as the identity is. */
  readonly camid: Label;
}

/** A division of a test set's pictures into queries and gallery: positions in {@link TestSet.images}. */
export interface Trial {
  readonly query: readonly number[];
  readonly gallery: readonly number[];
}

/** What a data set is tested on. */
export interface TestSet {
  /** Every picture once. */
  readonly images: readonly ImageItem[];
  /** One, or several whose results are averaged. A picture may be in the query and the gallery of a trial. */
  readonly trials: readonly Trial[];
  /**
   * Whether cameras are known. If so, gallery pictures of the query's identity and camera do not count; if not,
   * only the query picture itself does not.
   */
  readonly cameras: boolean;
}

export interface DatasetOptions {
  /** Folder that holds the datasets; default {@link datasetsRoot}. */
  root?: string;
  /** Train on query and gallery too (DATASETS.COMBINEALL). */
  combineAll?: boolean;
  /** Which of the set's divisions into training and test, from 0, where it has several. */
  split?: number;
}

/** What the dataset registry holds. */
export interface DatasetClass {
  new (options?: DatasetOptions): ImageDataset;
  /** Number of divisions into training and test, if there are several: `name#3` asks for the fourth. */
  readonly splits?: number;
}

/** `$FASTREID_DATASETS`, else `datasets` under the current folder. */
export function datasetsRoot(): string {
  return process.env.FASTREID_DATASETS || 'datasets';
}

/**
 * A re-identification dataset: pictures to train on, query pictures, and the gallery they are looked up in. A
 * subclass says how each is read; reading happens on first use, since a training run may never need the gallery.
 */
export abstract class ImageDataset {
  /** Prefix of identities in training sets, which keeps several datasets apart. */
  abstract readonly datasetName: string;
  /** Identities that are no one: distractors and false detections, left out by `combineAll`. */
  readonly junkPids: readonly Label[] = [];
  readonly root: string;
  protected readonly combineAll: boolean;
  #train: readonly ImageItem[] | undefined;
  #query: readonly ImageItem[] | undefined;
  #gallery: readonly ImageItem[] | undefined;

  constructor({ root = datasetsRoot(), combineAll = false }: DatasetOptions = {}) {
    this.root = root;
    this.combineAll = combineAll;
  }

  /** Whether there are a query and a gallery, which `combineAll` could add. */
  protected get hasTest(): boolean {
    return true;
  }

  /** What tables and messages call it. */
  protected get title(): string {
    return this.constructor.name;
  }

  protected abstract readTrain(): ImageItem[];
  protected abstract readQuery(): ImageItem[];
  protected abstract readGallery(): ImageItem[];

  get train(): readonly ImageItem[] {
    const withTest = this.combineAll && this.hasTest;
    this.#train ??= withTest ? [...this.readTrain(), ...this.#testAsTrain()] : this.readTrain();
    return this.#train;
  }

  get query(): readonly ImageItem[] {
    this.#query ??= this.readQuery();
    return this.#query;
  }

  get gallery(): readonly ImageItem[] {
    this.#gallery ??= this.readGallery();
    return this.#gallery;
  }

  /** Whether cameras are known at all, to training as well. */
  get hasCameras(): boolean {
    return true;
  }

  /** What there is to test: queries first, then the gallery, in one trial, unless a data set has another protocol. */
  testSet(): TestSet {
    const { query, gallery } = this;
    const images = [...query, ...gallery];
    const at = images.map((_, i) => i);
    const trial = { query: at.slice(0, query.length), gallery: at.slice(query.length) };
    return { images, trials: [trial], cameras: true };
  }

  /** What the identity of a test picture is called by people: the number that it has, unless the data have names. */
  identityName({ pid }: ImageItem): Label {
    return pid;
  }

  /** What the camera of a test picture is called, likewise. */
  cameraName({ camid }: ImageItem): Label {
    return camid;
  }

  /** What the camera of a test picture is called in training sets. */
  trainingCamera(item: ImageItem): Label {
    return this.named(item).camid;
  }

  /** What the identity of a test picture is called in training sets, where it is there. */
  trainingIdentity(item: ImageItem): Label {
    return this.named(item).pid;
  }

  /** Identities and cameras, as training sets name them. */
  protected named(item: ImageItem): ImageItem {
    const { imgPath, pid, camid } = item;
    return { imgPath, pid: `${this.datasetName}_${pid}`, camid: `${this.datasetName}_${camid}` };
  }

  /** Throws when one of `paths` does not exist; the message ends with `help`, which shows the expected layout. */
  protected require(paths: readonly string[], help: string): void {
    for (const path of paths) {
      if (!existsSync(path)) throw new Error(`${this.title}: '${path}' does not exist.\n${help}`);
    }
  }

  /** The lines of a list of pictures, numbered from 1. Throws when there is none. */
  protected linesOf(list: string): { line: string; number: number }[] {
    const lines = numberedLines(list);
    if (lines.length === 0) throw new Error(`${this.title}: '${list}' lists no pictures`);
    return lines;
  }

  /** Table of the training set, as FastReID prints it. */
  showTrain(): string {
    return this.#table([['train', this.train]]);
  }

  /** Table of query and gallery. */
  showTest(): string {
    return this.#table([
      ['query', this.query],
      ['gallery', this.gallery],
    ]);
  }

  #table(subsets: [string, readonly ImageItem[]][]): string {
    const rows = subsets.map(([name, items]) => {
      const { ids, images, cameras } = countItems(items);
      return [name, String(ids), String(images), String(cameras)];
    });
    const table = pipeTable(['subset', '# ids', '# images', '# cameras'], rows);
    return `=> Loaded ${this.title}\n${table}`;
  }

  #testAsTrain(): ImageItem[] {
    return this.testSet()
      .images.filter(({ pid }) => !this.junkPids.includes(pid))
      .map(({ imgPath, pid, camid }) => this.named({ imgPath, pid: `test_${pid}`, camid: `test_${camid}` }));
  }
}

/** Numbers of identities, images and cameras. */
export function countItems(items: readonly ImageItem[]): { ids: number; images: number; cameras: number } {
  return {
    ids: new Set(items.map(({ pid }) => pid)).size,
    images: items.length,
    cameras: new Set(items.map(({ camid }) => camid)).size,
  };
}
