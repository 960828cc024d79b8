import { type BrokenImage, buildTransforms, type ImageSource, loadProcessed, Rng } from '../data/index.js';
import type { Tensor } from '../torch/index.js';
import type { DefaultPredictor } from './default-predictor.js';

export interface ImageBatchOptions {
  /** Images at a time. Default: TEST.IMS_PER_BATCH. */
  batchSize?: number;
  /** Go on when an image cannot be read, with a black one in its place. Default: that is an error. */
  skipBroken?: boolean;
}

/** Images as a predictor wants them. */
export interface ImageBatch {
  /** Float32 [n, 3, h, w], 0 to 255, on the CPU, resized and cropped as in evaluation. */
  batch: Tensor;
  sources: readonly ImageSource[];
  /** Which of them could not be read. */
  broken: readonly BrokenImage[];
}

/** Loads images as a predictor wants them, some at a time. A batch is released when the next one is asked for. */
export async function* imageBatches(
  { cfg }: DefaultPredictor,
  images: readonly ImageSource[],
  { batchSize = cfg.TEST.IMS_PER_BATCH, skipBroken = false }: ImageBatchOptions = {},
): AsyncGenerator<ImageBatch> {
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new RangeError(`TEST.IMS_PER_BATCH must be a whole number from 1 on, got ${batchSize}`);
  }
  const { size, draw } = buildTransforms(cfg, false);
  const rng = new Rng(0); // preparing for evaluation draws nothing
  const { NUM_WORKERS: workers } = cfg.DATALOADER;
  for (let from = 0; from < images.length; from += batchSize) {
    const sources = images.slice(from, from + batchSize);
    const programs = sources.map(() => draw(rng));
    let broken: readonly BrokenImage[] = [];
    const onBroken = (found: readonly BrokenImage[], batch: Tensor): void => {
      broken = found;
      for (const { index } of found) batch.select(0, index).zero_();
    };
    const batch = await loadProcessed(sources, programs, size, {
      workers,
      ...(skipBroken && { onBroken }),
    });
    try {
      yield { batch, sources, broken };
    } finally {
      batch.dispose();
    }
  }
}
