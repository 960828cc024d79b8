// Pictures into tensors: JPEGs decoded and resized by native threads (native/image.cc). What it does not read is
// reported, not thrown, so that the caller can turn to another decoder.

import type { ImageProgram } from './image-program.js';
import { type ImageFailure, type NativeImageCache, native } from './native.js';
import { type Tensor, wrap } from './tensor.js';

export type { ImageFailure } from './native.js';

/** Path of an image file, or the bytes of one. */
export type ImageSource = string | Uint8Array;

/**
 * Decoded pictures of files, at their own size, in memory or as files in a folder. Once `limit` bytes are reached
 * nothing more is added. A folder outlives the process and may be shared by several; what is in it is used as long
 * as the picture file keeps its size and time. Of several processes that open caches at once under one limit, each may
 * add one of `shares` equal parts of what is left.
 */
export class ImageCache {
  /** For native code. */
  readonly handle: NativeImageCache;

  constructor({ folder = '', limit, shares = 1 }: { folder?: string; limit: number; shares?: number }) {
    this.handle = native.imageCacheOpen(folder, limit, shares);
  }

  /** Pictures found, pictures added, and bytes of pixels held (in a folder, of files). */
  get stats(): { hits: number; images: number; bytes: number } {
    return native.imageCacheStats(this.handle);
  }
}

/**
 * Decodes each source, runs its program on it and writes the result to slot i of `out` (uint8 or float32 with
 * values 0–255, N × 3 × H × W, contiguous, on the CPU), on `threads` native threads. Without programs, pictures are
 * resized to fit (antialiased bicubic, equal to PIL's). Resolves to what was not loaded, in order. Rejects (or
 * throws) only on wrong arguments.
 */
export async function loadImagesInto(
  sources: readonly ImageSource[],
  out: Tensor,
  threads: number,
  programs?: readonly ImageProgram[],
  cache?: ImageCache,
): Promise<ImageFailure[]> {
  return native.imageLoadBatch(
    sources,
    out.handle,
    threads,
    programs?.map((program) => program.encode()),
    cache?.handle,
  );
}

/**
 * Processes RGB bytes (height × width × 3) into slot `index` of `out`, as {@link loadImagesInto}. With a cache they
 * are kept there as the pixels of `keep.path`.
 */
export async function processImageInto(
  rgb: Uint8Array,
  height: number,
  width: number,
  out: Tensor,
  index: number,
  program?: ImageProgram,
  keep?: { cache: ImageCache; path: string },
): Promise<ImageFailure[]> {
  const { cache, path } = keep ?? {};
  return native.imageProcessInto(
    rgb,
    height,
    width,
    out.handle,
    index,
    program?.encode(),
    cache?.handle,
    path,
  );
}

/** Decodes one picture at its own size: uint8, 3 × H × W, on the CPU. */
export async function decodeImage(source: ImageSource): Promise<Tensor | ImageFailure> {
  const result = await native.imageDecode(source);
  return typeof result === 'number' ? wrap(result) : result;
}
