// Pictures into tensors: JPEGs decoded and resized by native threads (native/image.cc). What it does not read is
// reported, not thrown, so that the caller can turn to another decoder.

import { type ImageFailure, native } from './native.js';
import { type Tensor, wrap } from './tensor.js';

export type { ImageFailure } from './native.js';

/** Path of an image file, or the bytes of one. */
export type ImageSource = string | Uint8Array;

/**
 * Decodes each source, resizes it to the slots of `out` (uint8, N × 3 × H × W, contiguous, on the CPU; antialiased
 * bicubic, equal to PIL's) and writes source i into slot i, on `threads` native threads. Resolves to what was not
 * loaded, in order. Rejects (or throws) only on wrong arguments.
 */
export async function loadImagesInto(
  sources: readonly ImageSource[],
  out: Tensor,
  threads: number,
): Promise<ImageFailure[]> {
  return native.imageLoadBatch(sources, out.handle, threads);
}

/** Resizes RGB bytes (height × width × 3) and writes them into slot `index` of `out`, as {@link loadImagesInto}. */
export async function resizeImageInto(
  rgb: Uint8Array,
  height: number,
  width: number,
  out: Tensor,
  index: number,
): Promise<ImageFailure[]> {
  return native.imageResizeInto(rgb, height, width, out.handle, index);
}

/** Decodes one picture at its own size: uint8, 3 × H × W, on the CPU. */
export async function decodeImage(source: ImageSource): Promise<Tensor | ImageFailure> {
  const result = await native.imageDecode(source);
  return typeof result === 'number' ? wrap(result) : result;
}
