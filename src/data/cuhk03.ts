import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset, File, Reference } from 'h5wasm/node';
import sharp from 'sharp';
import { type Boxes, CLASSIC_TEST_SETS, CUHK03_FOLDER } from './datasets/cuhk03.js';

const BOXES: readonly Boxes[] = ['labeled', 'detected'];
/** Of the ten pictures that an identity can have, the first five are camera 1's. */
const PER_CAMERA = 5;
const IN_FLIGHT = 16; // pictures being written at a time

export interface PrepareCuhk03Options {
  /** Folder that holds the datasets; the set is in `<root>/cuhk03`. */
  root: string;
  onProgress?: (done: number, total: number) => void;
}

export interface PrepareCuhk03Result {
  /** Folders of pictures, and how many were written to each; none where the folder was there already. */
  folders: { path: string; images: number }[];
  /** List of the classic splits' test identities; whether it was written, or was there already. */
  testSets: { path: string; written: boolean };
}

interface Picture {
  file: string;
  reference: Reference;
}

/**
 * Writes the pictures in `cuhk03/cuhk03_release/cuhk-03.mat` as PNG files to `cuhk03/images_labeled` and
 * `images_detected`, named `<place>_<identity>_<camera>_<number>.png`, as the new protocol's files call them, and the test
 * identities of the twenty classic splits to `cuhk03/classic_testsets.json`. A folder or file appears when it is complete;
 * one that is there is left alone.
 */
export async function prepareCuhk03(options: PrepareCuhk03Options): Promise<PrepareCuhk03Result> {
  const folder = join(options.root, CUHK03_FOLDER);
  const target = (boxes: Boxes): string => join(folder, `images_${boxes}`);
  const missing = BOXES.filter((boxes) => !existsSync(target(boxes)));
  const testSets = { path: join(folder, CLASSIC_TEST_SETS), written: false };
  const written = new Map<Boxes, number>();
  if (missing.length > 0 || !existsSync(testSets.path)) {
    const source = join(folder, 'cuhk03_release', 'cuhk-03.mat');
    if (!existsSync(source)) {
      throw new Error(`'${source}' does not exist: unpack cuhk03_release.zip in '${folder}'`);
    }
    const file = await openHdf5(source);
    try {
      const pictures = new Map(missing.map((boxes) => [boxes, listPictures(file, boxes, source)]));
      const total = [...pictures.values()].reduce((sum, { length }) => sum + length, 0);
      let done = 0;
      for (const [boxes, list] of pictures) {
        const images = await writeAll(file, list, target(boxes), () => options.onProgress?.(++done, total));
        written.set(boxes, images);
      }
      if (!existsSync(testSets.path)) {
        await writeTestSets(file, source, testSets.path);
        testSets.written = true;
      }
    } finally {
      file.close();
    }
  }
  const folders = BOXES.map((boxes) => ({ path: target(boxes), images: written.get(boxes) ?? 0 }));
  return { folders, testSets };
}

/** The cell array `testsets`: a matrix each, identities × [place, identity there], reversed in HDF5. */
async function writeTestSets(file: File, source: string, target: string): Promise<void> {
  const splits = cells(file.get('testsets'), source).references.map((reference) => {
    const { shape, value } = open(file, reference);
    const [columns, people] = shape ?? [];
    if (columns !== 2) throw new Error(`'${source}' is not CUHK03's: its test sets are not pairs of numbers`);
    const numbers = value as Float64Array;
    return Array.from({ length: people }, (_, i) => [numbers[i], numbers[people + i]]);
  });
  await writeFile(`${target}.partial`, `${JSON.stringify(splits)}\n`);
  await rename(`${target}.partial`, target);
}

async function openHdf5(path: string): Promise<File> {
  let h5wasm: typeof import('h5wasm/node');
  try {
    h5wasm = await import('h5wasm/node');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error(
      'cuhk-03.mat is an HDF5 file, and the package that reads it is not installed: npm install --no-save h5wasm',
    );
  }
  await h5wasm.ready;
  const file = new h5wasm.File(path, 'r');
  if (file.file_id < 0n) throw new Error(`'${path}' cannot be read as HDF5`);
  return file;
}

function open(file: File, reference: Reference): Dataset {
  // Declared as a region of a data set, since the types of the two kinds of reference have the same shape.
  return file.dereference(reference) as unknown as Dataset;
}

/** A MATLAB cell array: references, in HDF5's order of dimensions, which is the reverse of MATLAB's. */
function cells(value: unknown, source: string): { references: Reference[]; shape: number[] } {
  const { dtype, shape, value: references } = (value ?? {}) as Partial<Dataset>;
  if (dtype !== 'Reference' || !Array.isArray(shape) || !Array.isArray(references)) {
    throw new Error(`'${source}' is not CUHK03's: a cell array is missing`);
  }
  return { references: references as Reference[], shape };
}

/** Places × identities × pictures, of which many cells are empty. */
function listPictures(file: File, boxes: Boxes, source: string): Picture[] {
  const places = cells(file.get(boxes), source).references;
  return places.flatMap((place, p) => {
    const { references, shape } = cells(open(file, place), source);
    const identities = shape[1];
    return references.flatMap((reference, i) => {
      const [number, identity] = [Math.floor(i / identities), i % identities];
      const { shape: size } = open(file, reference);
      if (size?.length !== 3) return [];
      const three = (n: number): string => String(n).padStart(3, '0');
      const camera = number < PER_CAMERA ? 1 : 2;
      return {
        reference,
        file: `${p + 1}_${three(identity + 1)}_${camera}_${three(number + 1).slice(1)}.png`,
      };
    });
  });
}

async function writeAll(
  file: File,
  pictures: readonly Picture[],
  target: string,
  onWritten: () => void,
): Promise<number> {
  const partial = `${target}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  for (let from = 0; from < pictures.length; from += IN_FLIGHT) {
    const some = pictures.slice(from, from + IN_FLIGHT).map(async ({ reference, file: name }) => {
      const { pixels, width, height } = readPixels(open(file, reference));
      const raw = { width, height, channels: 3 } as const;
      await sharp(pixels, { raw }).png().toFile(join(partial, name));
      onWritten();
    });
    await Promise.all(some);
  }
  await rename(partial, target);
  return pictures.length;
}

/** From channels × width × height, MATLAB's columns, to height × width × channels. */
function readPixels({ shape, value }: Dataset): { pixels: Uint8Array; width: number; height: number } {
  const [channels, width, height] = shape!;
  const planes = value as Uint8Array;
  const pixels = new Uint8Array(planes.length);
  for (let c = 0; c < channels; c++) {
    for (let x = 0; x < width; x++) {
      for (let y = 0; y < height; y++) {
        pixels[(y * width + x) * channels + c] = planes[(c * width + x) * height + y];
      }
    }
  }
  return { pixels, width, height };
}
