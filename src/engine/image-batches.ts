import { type ImageSource, loadImages } from '../data/index.js';
import type { Tensor } from '../torch/index.js';
import type { DefaultPredictor, EmbedOptions } from './default-predictor.js';

/**
 * Loads images as a predictor wants them, some at a time: uint8 [n, 3, h, w] on the CPU, resized to INPUT.SIZE_TEST. A
 * batch is released when the next one is asked for.
 */
export async function* imageBatches(
  { cfg }: DefaultPredictor,
  images: readonly ImageSource[],
  { batchSize = cfg.TEST.IMS_PER_BATCH }: Pick<EmbedOptions, 'batchSize'> = {},
): AsyncGenerator<{ batch: Tensor; sources: readonly ImageSource[] }> {
  const [height, width] = cfg.INPUT.SIZE_TEST;
  for (let from = 0; from < images.length; from += batchSize) {
    const sources = images.slice(from, from + batchSize);
    const batch = await loadImages(sources, height, width, { workers: cfg.DATALOADER.NUM_WORKERS });
    try {
      yield { batch, sources };
    } finally {
      batch.dispose();
    }
  }
}
