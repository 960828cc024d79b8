import { buildTransforms, type ImageSource, loadProcessed, Rng } from '../data/index.js';
import type { Tensor } from '../torch/index.js';
import type { DefaultPredictor, EmbedOptions } from './default-predictor.js';

/**
 * Loads images as a predictor wants them, some at a time: float32 [n, 3, h, w], 0 to 255, on the CPU, resized and
 * cropped as in evaluation. A batch is released when the next one is asked for.
 */
export async function* imageBatches(
  { cfg }: DefaultPredictor,
  images: readonly ImageSource[],
  { batchSize = cfg.TEST.IMS_PER_BATCH }: Pick<EmbedOptions, 'batchSize'> = {},
): AsyncGenerator<{ batch: Tensor; sources: readonly ImageSource[] }> {
  const { size, draw } = buildTransforms(cfg, false);
  const rng = new Rng(0); // preparing for evaluation draws nothing
  const { NUM_WORKERS: workers } = cfg.DATALOADER;
  for (let from = 0; from < images.length; from += batchSize) {
    const sources = images.slice(from, from + batchSize);
    const programs = sources.map(() => draw(rng));
    const batch = await loadProcessed(sources, programs, size, { workers });
    try {
      yield { batch, sources };
    } finally {
      batch.dispose();
    }
  }
}
