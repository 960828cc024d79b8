// Pictures into tensors: JPEGs decoded and resized by native threads (native/image.cc). What it does not read is
// reported, not thrown, so that the caller can turn to another decoder.

import type { ImageProgram } from './image-program.js';
import { type ImageFailure, native } from './native.js';
import { type Tensor, wrap } from './tensor.js';

export type { ImageFailure } from './native.js';

/** Path of an image file, or the bytes of one. */
export type ImageSource = string | Uint8Array;

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
): Promise<ImageFailure[]> {
  return native.imageLoadBatch(
    sources,
    out.handle,
    threads,
    programs?.map((program) => program.encode()),
  );
}

/** Processes RGB bytes (height × width × 3) into slot `index` of `out`, as {@link loadImagesInto}. */
export async function processImageInto(
  rgb: Uint8Array,
  height: number,
  width: number,
  out: Tensor,
  index: number,
  program?: ImageProgram,
): Promise<ImageFailure[]> {
  return native.imageProcessInto(rgb, height, width, out.handle, index, program?.encode());
}

/** Decodes one picture at its own size: uint8, 3 × H × W, on the CPU. */
export async function decodeImage(source: ImageSource): Promise<Tensor | ImageFailure> {
  const result = await native.imageDecode(source);
  return typeof result === 'number' ? wrap(result) : result;
}
