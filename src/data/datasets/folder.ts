import { statSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow, isPicture } from './files.js';
import {
  isPart,
  OWN_DEFAULTS,
  OwnDataset,
  type OwnDatasetOptions,
  type OwnItem,
  PARTS,
  type Part,
} from './own.js';

/**
 * A folder of one's own (`folder:/path`): a folder an identity, in it pictures, or folders of cameras with pictures.
 * The camera may also be in the pictures' names (`_c2`, or as DATASETS.OWN.CAMERA_PATTERN says). When the folders at
 * the top are called `train`, `query` and `gallery` (or `train` and `test`), identities are one level below, and
 * belong where they are.
 */
export class FolderDataset extends OwnDataset {
  readonly #folder: string;
  readonly #pattern: RegExp | undefined;

  constructor(folder: string, options: OwnDatasetOptions = {}) {
    super(`folder:${folder}`, options);
    this.#folder = folder;
    const pattern = options.cameraPattern ?? OWN_DEFAULTS.cameraPattern;
    if (pattern !== '') this.#pattern = cameraPattern(pattern);
    this.require([folder], this.#help());
    if (!statSync(folder).isDirectory()) {
      throw new Error(`${this.title}: '${folder}' is not a folder.\n${this.#help()}`);
    }
  }

  protected override readItems(): OwnItem[] {
    const paths = filesBelow(this.#folder)
      .map((path) => path.split('/'))
      .filter((path) => isPicture(path.at(-1)!) && !path.some((name) => name.startsWith('.')));
    if (paths.length === 0) throw new Error(`${this.title}: no pictures in it.\n${this.#help()}`);
    const inPart = ([top]: readonly string[]): boolean => isPart(top);
    const divided = paths.every(inPart);
    const [part, odd] = [paths.find(inPart), paths.find((path) => !inPart(path))];
    if (part !== undefined && odd !== undefined) {
      throw new Error(
        `${this.title}: '${part[0]}' beside '${odd[0]}': either all folders at the top are parts ` +
          `(${PARTS.join(', ')}) or all are identities.\n${this.#help()}`,
      );
    }
    return this.#withCameras(paths.map((path) => this.#item(path, divided)));
  }

  #item(path: readonly string[], divided: boolean): OwnItem {
    const below = divided ? path.slice(1) : path;
    const file = join(this.#folder, ...path);
    if (below.length < 2 || below.length > 3) {
      throw new Error(
        `${this.title}: '${file}' is in no folder of an identity (and a camera).\n${this.#help()}`,
      );
    }
    const camera = below.length === 3 ? below[1] : undefined;
    return { path: file, identity: below[0], camera, part: divided ? (path[0] as Part) : undefined };
  }

  /** Cameras from the pictures' names, where there are no folders of cameras. */
  #withCameras(items: readonly OwnItem[]): OwnItem[] {
    const named = items.map((item) => ({
      ...item,
      camera: item.camera ?? this.#pattern?.exec(item.path.slice(item.path.lastIndexOf('/') + 1))?.[1],
    }));
    const without = named.find(({ camera }) => camera === undefined);
    const having = named.find(({ camera }) => camera !== undefined);
    if (without === undefined || having === undefined) return named;
    throw new Error(
      `${this.title}: the camera of '${having.path}' is known (${having.camera}), that of '${without.path}' is not. ` +
        'Give all a camera or none; an empty DATASETS.OWN.CAMERA_PATTERN leaves file names alone.\n' +
        this.#help(),
    );
  }

  #help(): string {
    return [
      'Expected layout, with or without cameras:',
      `  ${this.#folder}/`,
      '    <identity>/<picture>.jpg, or',
      '    <identity>/<camera>/<picture>.jpg, or',
      '    <identity>/<name>_c<camera>….jpg',
      'or these below train/, query/ and gallery/, or below train/ and test/.',
    ].join('\n');
  }
}

function cameraPattern(source: string): RegExp {
  let pattern: RegExp;
  try {
    pattern = new RegExp(source);
  } catch (error) {
    throw new Error(`DATASETS.OWN.CAMERA_PATTERN: ${(error as Error).message}`);
  }
  if (new RegExp(`${source}|`).exec('')!.length < 2) {
    throw new Error(
      `DATASETS.OWN.CAMERA_PATTERN '${source}' has no group that is the camera, as (\\d+) in _c(\\d+)`,
    );
  }
  return pattern;
}
