import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { DatasetEvaluator, Labels } from './reid-evaluator.js';
import type { Results } from './results.js';

/** A batch of a test loader: images with whose they are, and from which camera. */
export interface TestBatch {
  readonly images: Tensor;
  /** Identities, int64 [batch]. */
  readonly targets: Tensor;
  /** Cameras, int64 [batch]. */
  readonly camids: Tensor;
  /** Frees the batch's tensors. */
  dispose(): void;
}

/** What inference needs of a model: features [batch, dim] while it is in eval mode. */
export interface FeatureModel<B> {
  readonly training: boolean;
  train(mode?: boolean): unknown;
  eval(): unknown;
  call(batch: B): unknown;
}

export interface InferenceOptions {
  /** Number of images, for messages and the evaluator. */
  images?: number;
  /** Number of batches, for the time left. */
  batches?: number;
  /**
   * Features are the means of those of the images and of their mirror images, which this makes from images
   * [batch, C, H, W] (TEST.FLIP): `(images) => images.flip([3])`.
   */
  mirror?: (images: Tensor) => Tensor;
}

/** How often a long inference says how far it is. */
const REPORT_SECONDS = 30;

/**
 * Runs a model over a test set, without gradients and in eval mode, hands its features to the evaluator and
 * returns the evaluator's results. The model's mode is what it was, afterwards.
 */
export async function inferenceOnDataset<B extends TestBatch>(
  model: FeatureModel<B>,
  loader: AsyncIterable<B>,
  evaluator: DatasetEvaluator,
  { images, batches, mirror }: InferenceOptions = {},
): Promise<Results> {
  logger.info(`Start inference${images === undefined ? '' : ` on ${images} images`}`);
  const wasTraining = model.training;
  evaluator.reset(images);
  model.eval();
  const start = performance.now();
  let computeMs = 0;
  let done = 0;
  let reported = start;
  try {
    for await (const batch of loader) {
      const before = performance.now();
      try {
        torch.scope(() => {
          const features = torch.noGrad(() => {
            const upright = featuresOf(model, batch);
            if (mirror === undefined) return upright;
            const mirrored = featuresOf(model, { ...batch, images: mirror(batch.images) });
            return upright.add(mirrored).div_(2);
          });
          evaluator.process(features, labelsOf(batch));
        });
      } finally {
        batch.dispose();
      }
      const now = performance.now();
      computeMs += now - before;
      done++;
      if (now - reported > REPORT_SECONDS * 1000) {
        reported = now;
        const left =
          batches === undefined
            ? ''
            : `; ${Math.round((((now - start) / done) * (batches - done)) / 1000)} s left`;
        const of = batches === undefined ? '' : `/${batches}`;
        logger.info(`Inference done ${done}${of}. ${(computeMs / done / 1000).toFixed(4)} s / batch${left}`);
      }
    }
    const seconds = (performance.now() - start) / 1000;
    const perBatch = (computeMs / Math.max(1, done) / 1000).toFixed(4);
    logger.info(`Total inference time: ${seconds.toFixed(1)} s (model: ${perBatch} s / batch)`);
    return await evaluator.evaluate();
  } finally {
    evaluator.reset();
    model.train(wasTraining);
  }
}

function featuresOf<B>(model: FeatureModel<B>, batch: B): Tensor {
  const features = model.call(batch);
  if (features instanceof torch.Tensor) return features;
  throw new Error('in eval mode the model must return features');
}

function labelsOf(batch: TestBatch): Labels {
  const numbers = (t: Tensor): number[] => (t.cpu().toArray() as (number | bigint)[]).map(Number);
  return { pids: numbers(batch.targets), camids: numbers(batch.camids) };
}
