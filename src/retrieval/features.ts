import { existsSync, readFileSync } from 'node:fs';
import type { Label } from '../data/labels.js';
import { type TestProtocol, takeRows } from '../evaluation/index.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { writeDescribedSync } from '../torch/serialization/atomic-file.js';
import { npyBytes } from '../torch/serialization/npy.js';

/** Features with what is known of the images that they are of. */
export interface FeatureSet {
  /** Float32 [images, dim] on the CPU, one row an image; not normalised. */
  features: Tensor;
  /** File of each image. */
  paths: string[];
  /** Identity of each image, where known. */
  identities?: Label[];
  /** Camera of each image, where known. */
  cameras?: Label[];
  /** Which images are looked up in which, by their rows, when they are a test set. */
  protocol?: TestProtocol;
  /** Whether they are the means of the features of the images and of their mirror images (TEST.FLIP). */
  mirrored?: boolean;
}

/** Texts that go with the array: metadata of a safetensors file, or the JSON file beside a .npy file. */
const FIELDS = ['paths', 'identities', 'cameras', 'protocol', 'mirrored'] as const;
type Described = Partial<Record<(typeof FIELDS)[number], unknown>>;

const labelFile = (path: string): string => path.replace(/\.npy$/, '.json');

/** Throws unless `path` ends in what says how features are to be written there. */
export function checkFeaturesPath(path: string): void {
  if (/\.(safetensors|npy)$/.test(path)) return;
  throw new Error(`${path}: the name of a features file must end in .safetensors or .npy`);
}

/**
 * Writes features. A `.safetensors` file has the tensor `features` and, in its metadata, `paths`, `identities`,
 * `cameras`, `protocol` and `mirrored`, each as JSON. A `.npy` file has the array alone; the same fields are in a JSON
 * file beside it, which has its name but for the ending. An error leaves what was there; a crash may leave a `.npy` file
 * without the JSON file, but never with that of other features.
 */
export function saveFeatures(path: string, set: FeatureSet): void {
  checkFeaturesPath(path);
  checkFeatures(path, set);
  const known = FIELDS.filter((field) => set[field] !== undefined);
  if (path.endsWith('.safetensors')) {
    const metadata = Object.fromEntries(known.map((field) => [field, JSON.stringify(set[field])]));
    torch.saveSafetensors(new Map([['features', set.features]]), path, metadata);
    return;
  }
  const texts = Object.fromEntries(known.map((field) => [field, set[field]]));
  writeDescribedSync(
    [path, npyBytes(set.features)],
    [labelFile(path), [Buffer.from(`${JSON.stringify(texts)}\n`)]],
  );
}

/**
 * Reads what {@link saveFeatures} wrote; half or double precision, as others may write, becomes float32. The features
 * belong to the open scope.
 *
 * Throws, naming the file, when it is something else, or features and labels do not fit.
 */
export function loadFeatures(path: string): FeatureSet {
  checkFeaturesPath(path);
  return torch.scope(() => {
    const npy = path.endsWith('.npy');
    const { array, texts } = npy ? readNpy(path) : readSafetensors(path);
    if (array.shape.length !== 2 || !array.dtype.isFloatingPoint) {
      throw new Error(
        `${path}: features must be a matrix of floats, got ${array.dtype.name} of shape [${array.shape.join(', ')}]`,
      );
    }
    const { paths, identities, cameras, protocol, mirrored } = texts;
    const set: FeatureSet = {
      features: array.to(torch.float32),
      paths: (paths ?? Array.from({ length: array.shape[0] }, (_, i) => `#${i}`)) as string[],
      identities: identities as Label[] | undefined,
      cameras: cameras as Label[] | undefined,
      protocol: protocol as TestProtocol | undefined,
      mirrored: mirrored as boolean | undefined,
    };
    checkFeatures(npy ? `${path} and ${labelFile(path)}` : path, set, npy ? NO_PAIR : '');
    return set;
  });
}

/** Some images of a set, in the given order; the protocol goes with them. New features belong to the open scope. */
export function selectImages(set: FeatureSet, rows: readonly number[]): FeatureSet {
  const place = new Map(rows.map((row, i) => [row, i]));
  const some = <T>(list: readonly T[] | undefined): T[] | undefined => list && rows.map((row) => list[row]);
  return {
    ...set,
    features: takeRows(set.features, rows),
    paths: some(set.paths)!,
    identities: some(set.identities),
    cameras: some(set.cameras),
    protocol: set.protocol && movedProtocol(set.protocol, (row) => place.get(row)),
  };
}

/** The same test where image `row` is image `place(row)`, or is left out where that is undefined. */
export function movedProtocol(
  protocol: TestProtocol,
  place: (row: number) => number | undefined,
): TestProtocol {
  const placesOf = (list: readonly number[]): number[] => list.flatMap((row) => place(row) ?? []);
  const trials = protocol.trials.map(({ query, gallery }) => ({
    query: placesOf(query),
    gallery: placesOf(gallery),
  }));
  return { ...protocol, trials };
}

function readSafetensors(path: string): { array: Tensor; texts: Described } {
  const file = torch.loadSafetensors(path);
  const array = file.get('features');
  if (!array) {
    const names = [...file.keys()].slice(0, 5).join(', ');
    throw new Error(`${path}: there is no tensor 'features' in this file; it has ${names || 'no tensors'}`);
  }
  const texts: Described = {};
  for (const field of FIELDS) {
    const text = file.metadata.get(field);
    if (text !== undefined) texts[field] = parse(`${path}: metadata.${field}`, text);
  }
  return { array, texts };
}

function readNpy(path: string): { array: Tensor; texts: Described } {
  const beside = labelFile(path);
  const texts = existsSync(beside) ? parse(beside, readFileSync(beside, 'utf8')) : {};
  if (typeof texts !== 'object' || texts === null) throw new Error(`${beside} must hold a JSON object`);
  return { array: torch.loadNpy(path), texts };
}

function parse(where: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${where} is not JSON: ${(error as Error).message}`);
  }
}

const NO_PAIR =
  ': these files are not of the same features; write both again, or remove the .json file, and the features have no labels';

const isLabel = (value: unknown): boolean => typeof value === 'string' || Number.isFinite(value);

/** @param hint what to do about labels whose number does not fit */
function checkFeatures(where: string, set: FeatureSet, hint = ''): void {
  const { features, paths, identities, cameras, protocol, mirrored } = set;
  const [n] = features.shape;
  for (const [field, list] of Object.entries({ paths, identities, cameras })) {
    if (list === undefined) continue;
    if (!Array.isArray(list) || list.length !== n) {
      const count = Array.isArray(list) ? `${list.length}` : 'no list of';
      throw new Error(`${where}: ${count} ${field} for ${n} features${hint}`);
    }
    const wrong = list.findIndex((value) =>
      field === 'paths' ? typeof value !== 'string' : !isLabel(value),
    );
    if (wrong >= 0) throw new Error(`${where}: ${field}[${wrong}] is ${JSON.stringify(list[wrong])}`);
  }
  if (mirrored !== undefined && typeof mirrored !== 'boolean') {
    throw new Error(`${where}: mirrored is ${JSON.stringify(mirrored)}, but can only be true or false`);
  }
  if (protocol !== undefined) checkProtocol(where, protocol, n);
}

function checkProtocol(where: string, protocol: TestProtocol, n: number): void {
  const isRow = (value: unknown): boolean =>
    Number.isInteger(value) && Number(value) >= 0 && Number(value) < n;
  const isRows = (list: unknown): boolean => Array.isArray(list) && list.every(isRow);
  const { trials, cameras } = protocol ?? {};
  const sound =
    Array.isArray(trials) && trials.every((trial) => isRows(trial?.query) && isRows(trial?.gallery));
  if (!sound || typeof cameras !== 'boolean') {
    throw new Error(`${where}: its protocol does not say which of the ${n} images are looked up in which`);
  }
}
