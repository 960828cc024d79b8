import { createHash } from 'node:crypto';
import { groupBy } from '../group.js';
import type { Label } from '../labels.js';
import { type DatasetOptions, ImageDataset, type ImageItem, type TestSet, type Trial } from './base.js';

/** Where a picture belongs; `test` is divided into query and gallery by the protocol. */
export const PARTS = ['train', 'query', 'gallery', 'test'] as const;
export type Part = (typeof PARTS)[number];

export function isPart(name: string): name is Part {
  return (PARTS as readonly string[]).includes(name);
}

/** A picture of one's own. */
export interface OwnItem {
  readonly path: string;
  readonly identity: string;
  /** Undefined where it is not known. */
  readonly camera?: string;
  /** Undefined where identities are to be divided by a draw. */
  readonly part?: Part;
}

/** What training sets call the camera of a picture whose camera is not known. */
const UNKNOWN_CAMERA = '0';

/** How pictures of one's own are read (DATASETS.OWN). */
export interface OwnOptions {
  /** Part of the identities that are tested on, where the data do not say (TEST_SHARE). Default 0.5. */
  testShare?: number;
  /** Decides which (SEED). Default 0. */
  seed?: number;
  /** How a picture's name says its camera, in the first group; empty for none (CAMERA_PATTERN). */
  cameraPattern?: string;
}

export const OWN_DEFAULTS: Required<OwnOptions> = { testShare: 0.5, seed: 0, cameraPattern: '_c(\\d+)' };

export interface OwnDatasetOptions extends DatasetOptions, OwnOptions {
  /** Do not divide: every picture is there to train on, and to test on. */
  all?: boolean;
}

/**
 * Pictures of one's own. Where they do not say what is to be trained and what to be tested on, a share of the
 * identities, drawn by their names and a seed, is tested on; an identity stays on its side when others come or go,
 * save for those at the edge.
 *
 * Protocol of a test part, whose gallery is all of its pictures:
 * - cameras known: for each identity that two cameras have seen, one picture of each camera is a query; gallery
 *   pictures of the same identity and camera do not count;
 * - cameras not known: every picture is a query; it does not count itself, and nothing else is left out.
 */
export abstract class OwnDataset extends ImageDataset {
  readonly datasetName: string;
  readonly #all: boolean;
  readonly #share: number;
  readonly #seed: number;
  #items: readonly OwnItem[] | undefined;
  #test: TestSet | undefined;
  /** Names of the cameras of the test part by their numbers; empty where it is not known. */
  #testCameras: string[] = [];
  /** Names of the identities of the test part by their numbers. */
  #testIdentities: string[] = [];

  /** @param name as the configuration has it; the prefix of training identities */
  constructor(name: string, options: OwnDatasetOptions = {}) {
    super(options);
    this.datasetName = name;
    this.#all = options.all ?? false;
    this.#share = options.testShare ?? OWN_DEFAULTS.testShare;
    this.#seed = options.seed ?? OWN_DEFAULTS.seed;
    if (!(this.#share > 0 && this.#share < 1)) {
      throw new RangeError(`DATASETS.OWN.TEST_SHARE must be between 0 and 1, got ${this.#share}`);
    }
  }

  /** All pictures; either all have a `part` or none. */
  protected abstract readItems(): OwnItem[];

  protected override get title(): string {
    return this.datasetName;
  }

  override get hasCameras(): boolean {
    return this.#read().every(({ camera }) => camera !== undefined);
  }

  /** COMBINEALL is met by {@link readTrain}: who is in both parts is one identity here, not two. */
  protected override get hasTest(): boolean {
    return false;
  }

  protected override readTrain(): ImageItem[] {
    const items = this.combineAll ? this.#read() : this.#part('train');
    if (items.length === 0) throw new Error(`${this.title}: nothing to train on`);
    const once = new Map(items.map((item) => [item.path, item]));
    return [...once.values()].map(({ path, identity, camera }) =>
      this.named({ imgPath: path, pid: identity, camid: camera ?? UNKNOWN_CAMERA }),
    );
  }

  /** Queries of the one trial. */
  protected override readQuery(): ImageItem[] {
    return this.#ofTrial('query');
  }

  /** Gallery of the one trial. */
  protected override readGallery(): ImageItem[] {
    return this.#ofTrial('gallery');
  }

  override testSet(): TestSet {
    this.#test ??= this.#makeTestSet();
    return this.#test;
  }

  override identityName({ pid }: ImageItem): Label {
    return this.#testIdentities[Number(pid)];
  }

  override cameraName({ camid }: ImageItem): Label {
    return this.#testCameras[Number(camid)] || UNKNOWN_CAMERA;
  }

  override trainingCamera(item: ImageItem): Label {
    return this.named({ ...item, camid: this.cameraName(item) }).camid;
  }

  override trainingIdentity(item: ImageItem): Label {
    return this.named({ ...item, pid: this.identityName(item) }).pid;
  }

  override showTest(): string {
    const protocol = this.testSet().cameras
      ? "Gallery pictures of a query's identity and camera do not count."
      : 'No cameras are known: of the gallery, only the query picture itself does not count.';
    return `${super.showTest()}\n${protocol}`;
  }

  #ofTrial(side: keyof Trial): ImageItem[] {
    const { images, trials } = this.testSet();
    return trials[0][side].map((i) => images[i]);
  }

  #read(): readonly OwnItem[] {
    if (this.#items === undefined) {
      const items = this.readItems();
      this.#checkParts(items);
      this.#items = items.some(({ part }) => part === undefined) && !this.#all ? this.#divide(items) : items;
    }
    return this.#items;
  }

  #checkParts(items: readonly OwnItem[]): void {
    const parts = new Set(items.map(({ part }) => part));
    if (parts.has('query') === parts.has('gallery') && !(parts.has('query') && parts.has('test'))) return;
    throw new Error(
      `${this.title}: its parts are ${[...parts].join(', ')}, but query and gallery belong together, and test stands ` +
        'for both',
    );
  }

  #part(...parts: Part[]): OwnItem[] {
    const items = this.#read();
    return this.#all ? [...items] : items.filter(({ part }) => part !== undefined && parts.includes(part));
  }

  #divide(items: readonly OwnItem[]): OwnItem[] {
    const identities = [...new Set(items.map(({ identity }) => identity))];
    if (identities.length < 2) {
      throw new Error(
        `${this.title}: ${identities.length} identity cannot be divided into training and test; ` +
          `to use everything for both, write '${this.title}#all'`,
      );
    }
    const count = Math.round(identities.length * this.#share);
    const tested = new Set(
      identities
        .map((identity) => ({ identity, key: this.#hash(identity) }))
        .sort((a, b) => a.key - b.key || (a.identity < b.identity ? -1 : 1))
        .slice(0, Math.min(Math.max(count, 1), identities.length - 1))
        .map(({ identity }) => identity),
    );
    return items.map((item) => ({ ...item, part: tested.has(item.identity) ? 'test' : 'train' }));
  }

  #hash(text: string): number {
    return createHash('sha1').update(`${this.#seed}:${text}`).digest().readUInt32BE();
  }

  #makeTestSet(): TestSet {
    const items = this.#part('query', 'gallery', 'test');
    if (items.length === 0)
      throw new Error(`${this.title} has no test part: it can be in NAMES, not in TESTS`);
    // A picture that is named for the query and for the gallery is one picture.
    const at = new Map<string, number>();
    for (const { path } of items) if (!at.has(path)) at.set(path, at.size);
    const once: OwnItem[] = [];
    for (const item of items) once[at.get(item.path)!] ??= item;
    const numberOf = numbering(once.map(({ identity }) => identity));
    const cameraOf = numbering(once.map(({ camera }) => camera ?? ''));
    this.#testCameras = [...cameraOf.keys()];
    this.#testIdentities = [...numberOf.keys()];
    const images = once.map(({ path, identity, camera }) => ({
      imgPath: path,
      pid: numberOf.get(identity)!,
      camid: cameraOf.get(camera ?? '')!,
    }));
    const cameras = once.every(({ camera }) => camera !== undefined);
    const ofPart = (part: Part): number[] =>
      items.flatMap((item) => (item.part === part ? [at.get(item.path)!] : []));
    const given = !this.#all && items.every(({ part }) => part !== 'test');
    const trial = given
      ? { query: ofPart('query'), gallery: ofPart('gallery') }
      : { query: this.#queries(once, cameras), gallery: once.map((_, i) => i) };
    return { images, trials: [trial], cameras };
  }

  /** Positions of the pictures of a test part that are looked up in all of it. */
  #queries(items: readonly OwnItem[], cameras: boolean): number[] {
    const byIdentity = groupBy(items.keys(), (i) => items[i].identity);
    const queries = [...byIdentity].flatMap(([identity, pictures]) => {
      if (!cameras) return pictures.length > 1 ? pictures : [];
      const byCamera = groupBy(pictures, (i) => items[i].camera);
      if (byCamera.size < 2) return [];
      return [...byCamera].map(([camera, some]) => some[this.#hash(`${identity}:${camera}`) % some.length]);
    });
    if (queries.length > 0) return queries.sort((a, b) => a - b);
    throw new Error(
      cameras
        ? `${this.title}: no identity to test on was seen by two cameras; without cameras in the data (or with an ` +
            'empty DATASETS.OWN.CAMERA_PATTERN), two pictures of an identity are enough'
        : `${this.title}: no identity to test on has two pictures`,
    );
  }
}

/** Numbers different names 0, 1, 2 … in their order. */
function numbering(names: readonly string[]): Map<string, number> {
  return new Map([...new Set(names)].sort().map((name, i) => [name, i]));
}
