import type { ImageItem } from '../datasets/base.js';
import { groupBy } from '../group.js';
import { compareLabels } from '../labels.js';
import type { Rng } from '../rng.js';
import { checkShard, type Shard } from './sampler.js';

export interface IdentitySamplerOptions extends Shard {
  /** Images a process sees in one batch. */
  miniBatchSize: number;
  /** Images of each identity in a batch (K). */
  numInstances: number;
  seed: number;
}

/** Positions of each identity's images; identities in the order of their labels. */
export function groupByIdentity(items: readonly ImageItem[]): number[][] {
  const byPid = groupBy(items.keys(), (i) => items[i].pid);
  return [...byPid.keys()].sort(compareLabels).map((pid) => byPid.get(pid)!);
}

/**
 * Refuses batches that do not hold whole groups of K images. Such combinations used to be found only as a training
 * run that hangs before its first step.
 */
export function checkGroups(options: IdentitySamplerOptions): void {
  const { miniBatchSize, numInstances } = options;
  const { worldSize } = checkShard(options);
  if (!Number.isInteger(numInstances) || numInstances < 1) {
    throw new RangeError(`DATALOADER.NUM_INSTANCE must be at least 1, got ${numInstances}`);
  }
  const below = Math.floor(miniBatchSize / numInstances) * numInstances;
  if (!Number.isInteger(miniBatchSize) || miniBatchSize < 1 || below !== miniBatchSize) {
    const fits = [below, below + numInstances].filter((n) => n > 0).map((n) => n * worldSize);
    throw new RangeError(
      `a batch of ${miniBatchSize} images per process cannot hold DATALOADER.NUM_INSTANCE ${numInstances} images of ` +
        `each identity: set SOLVER.IMS_PER_BATCH to ${fits.join(' or ')}, or NUM_INSTANCE to a divisor of ${miniBatchSize}`,
    );
  }
}

/**
 * Refuses batches for which there are too few identities.
 *
 * @param groups how many groups of K images a pass can give, over all identities
 */
export function checkIdentities(identities: number, groups: number, options: IdentitySamplerOptions): void {
  checkGroups(options);
  const { miniBatchSize, numInstances } = options;
  const { worldSize } = checkShard(options);
  const perBatch = miniBatchSize / numInstances;
  const most = Math.min(identities, Math.floor(groups / worldSize));
  if (perBatch <= most) return;
  const way =
    most > 0
      ? `set SOLVER.IMS_PER_BATCH to at most ${most * numInstances * worldSize} (now ${miniBatchSize * worldSize}), ` +
        'or raise DATALOADER.NUM_INSTANCE'
      : 'use fewer processes';
  throw new RangeError(
    `batches of ${perBatch} identities × ${numInstances} images${worldSize > 1 ? ` on ${worldSize} processes` : ''} ` +
      `need more than the ${identities} identities there are: ${way}`,
  );
}

/**
 * One batch a process as a piece of the shared stream: process r reads every n-th index of it, starting at the
 * r-th, and so gets `batches[r]`. All batches are equally long.
 */
export function interleave(batches: readonly (readonly number[])[]): number[] {
  return batches[0].flatMap((_, i) => batches.map((batch) => batch[i]));
}

/** `count` of the images: different ones where there are that many. */
export function drawImages(images: readonly number[], count: number, rng: Rng): number[] {
  if (images.length >= count) return rng.sample(images, count);
  return Array.from({ length: count }, () => images[rng.integer(images.length)]);
}
