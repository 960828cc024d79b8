import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { Sharp } from 'sharp';
import {
  decodeImage,
  type ImageCache,
  type ImageFailure,
  type ImageSource,
  loadImagesInto,
  processImageInto,
} from '../torch/image.js';
import type { ImageProgram } from '../torch/image-program.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { decodeBmp, isBmp, type RawImage } from './bmp.js';
import type { BrokenImage } from './broken.js';

export type { ImageSource } from '../torch/image.js';

export interface LoadOptions {
  /** Native threads that decode (DATALOADER.NUM_WORKERS); no more than the machine has cores are used. */
  workers?: number;
  /** Where pictures are kept once decoded; only files are. */
  cache?: ImageCache;
}

/** Told of the pictures that could not be loaded, in order, and of the batch, in which their rows are undefined. */
export type OnBroken = (broken: readonly BrokenImage[], batch: Tensor) => void;

function nameOf(source: ImageSource): string {
  return typeof source === 'string' ? `'${source}'` : 'image buffer';
}

function loadError(source: ImageSource, message: string, others: number): Error {
  const more = others > 0 ? ` (and ${others} more of the same batch)` : '';
  return new Error(`cannot load ${nameOf(source)}: ${message}${more}`);
}

/** Number of decoding threads for a NUM_WORKERS of `workers`. */
export function decodingThreads(workers = 4): number {
  if (!Number.isInteger(workers) || workers < 0) {
    throw new RangeError(`DATALOADER.NUM_WORKERS must be 0 or more, got ${workers}`);
  }
  return Math.max(1, Math.min(workers, availableParallelism()));
}

// sharp takes 50 ms to load; a set of ordinary JPEGs never needs it.
async function openWithSharp(source: ImageSource): Promise<Sharp> {
  const { default: sharp } = await import('sharp');
  // Colour profiles are ignored, as PIL does, save for CMYK, which means nothing without one.
  const { space } = await sharp(source).metadata();
  return sharp(source, { ignoreIcc: space !== 'cmyk' });
}

/**
 * Decodes by sharp whatever it reads, and Windows bitmaps, which it does not: transparency is flattened on white, EXIF orientation honoured, grey, CMYK,
 * palette and 16-bit pictures become 8-bit RGB.
 */
async function decodeWithSharp(source: ImageSource): Promise<RawImage> {
  if (typeof source !== 'string' ? isBmp(source) : source.toLowerCase().endsWith('.bmp')) {
    return decodeBmp(typeof source === 'string' ? await readFile(source) : source);
  }
  const image = await openWithSharp(source);
  const { data, info } = await image
    .autoOrient()
    .flatten({ background: '#ffffff' })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 3) throw new Error(`decoded to ${info.channels} channels instead of 3`);
  return { data, height: info.height, width: info.width };
}

async function loadBySharp(
  source: ImageSource,
  out: Tensor,
  index: number,
  { program, cache }: { program?: ImageProgram; cache?: ImageCache },
): Promise<ImageFailure | undefined> {
  try {
    const { data, height, width } = await decodeWithSharp(source);
    const keep = cache && typeof source === 'string' ? { cache, path: source } : undefined;
    const [failure] = await processImageInto(data, height, width, out, index, program, keep);
    return failure && { ...failure, index };
  } catch (error) {
    return { index, unsupported: false, message: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * Loads pictures (paths, or the bytes of image files) into a uint8 tensor N × 3 × `height` × `width` on the CPU:
 * decoded off the JavaScript thread, resized as PIL's bicubic filter does. Common JPEGs are decoded natively,
 * everything else by sharp. Rejects with an Error that names the first picture that cannot be loaded.
 */
export function loadImages(
  sources: readonly ImageSource[],
  height: number,
  width: number,
  options: LoadOptions = {},
): Promise<Tensor> {
  return load(sources, [height, width], { ...options, dtype: torch.uint8 });
}

/**
 * As {@link loadImages}, but every picture goes through a program of its own, which must end at `height` × `width`,
 * and the batch is float32, values 0–255.
 *
 * `options.pinned` puts the batch into page-locked memory, from which copies to a GPU run in the background.
 * `options.onBroken` is given the pictures that cannot be loaded, instead of rejecting; it must fill their rows.
 */
export function loadProcessed(
  sources: readonly ImageSource[],
  programs: readonly ImageProgram[],
  [height, width]: readonly [number, number],
  options: LoadOptions & { pinned?: boolean; onBroken?: OnBroken } = {},
): Promise<Tensor> {
  return load(sources, [height, width], { ...options, dtype: torch.float32, programs });
}

interface BatchOptions extends LoadOptions {
  dtype: torch.DType;
  programs?: readonly ImageProgram[];
  pinned?: boolean;
  onBroken?: OnBroken;
}

async function load(
  sources: readonly ImageSource[],
  size: readonly [number, number],
  { dtype, programs, pinned, workers, cache, onBroken }: BatchOptions,
): Promise<Tensor> {
  const out = torch.empty([sources.length, 3, ...size], { dtype, pinMemory: pinned }).keep();
  try {
    const failures = await loadImagesInto(sources, out, decodingThreads(workers), programs, cache);
    const left = await Promise.all(
      failures.map((one) =>
        one.unsupported
          ? loadBySharp(sources[one.index], out, one.index, { program: programs?.[one.index], cache })
          : one,
      ),
    );
    const fatal = left.filter((one) => one !== undefined);
    if (fatal.length > 0 && onBroken === undefined) {
      throw loadError(sources[fatal[0].index], fatal[0].message, fatal.length - 1);
    }
    if (fatal.length > 0) onBroken?.(fatal, out);
    return out;
  } catch (error) {
    out.dispose();
    throw error;
  }
}

/** Decodes one picture at its own size: uint8, 3 × H × W, on the CPU. Reads what {@link loadImages} reads. */
export async function readImage(source: ImageSource): Promise<Tensor> {
  const decoded = await decodeImage(source);
  if (decoded instanceof torch.Tensor) return decoded.keep();
  if (!decoded.unsupported) throw loadError(source, decoded.message, 0);
  const { data, height, width } = await decodeWithSharp(source).catch((error: Error) => {
    throw loadError(source, error.message, 0);
  });
  return torch
    .scope(() => torch.tensor(data).view([height, width, 3]).permute([2, 0, 1]).contiguous())
    .keep();
}
