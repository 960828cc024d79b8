import { accessSync, constants, mkdirSync } from 'node:fs';
import type { Config } from '../config/index.js';
import { logger } from '../logger.js';
import { ImageCache } from '../torch/image.js';
import type { DeviceLike } from '../torch/index.js';
import { EndlessBatches, FiniteBatches } from './batches.js';
import { checkCameras, withTrainingCameras } from './cameras.js';
import { withTrainingClasses } from './classes.js';
import { CommDataset } from './dataset.js';
import { type ImageItem, openDataset, ownOptions, type TestSet } from './datasets/index.js';
import type { Label } from './labels.js';
import { DataLoader } from './loader.js';
import { buildSampler } from './samplers/build.js';
import { InferenceSampler } from './samplers/index.js';
import { buildTransforms } from './transforms/index.js';

export interface LoaderOptions {
  rank?: number;
  worldSize?: number;
  /** Processes on this machine, which share DATALOADER.CACHE_GIB; default 1. */
  localWorldSize?: number;
  /** Where batches are delivered; default MODEL.DEVICE. */
  device?: DeviceLike;
  /** Folder that holds the datasets; default `$FASTREID_DATASETS`, else `datasets`. */
  root?: string;
  /** Receives the datasets' statistics on rank 0; default the log. */
  log?: (message: string) => void;
}

export interface TrainLoaderOptions extends LoaderOptions {
  /** Decides the order of pictures and the transforms' parameters; the same on every rank. Default: random. */
  seed?: number;
}

function batchPerProcess(key: string, total: number, worldSize: number): number {
  if (total < worldSize || total % worldSize !== 0) {
    const next = Math.ceil(total / worldSize) * worldSize;
    throw new RangeError(`${key} ${total} cannot be shared by ${worldSize} processes: set it to ${next}`);
  }
  return total / worldSize;
}

function seedOf({ seed, worldSize = 1 }: TrainLoaderOptions): number {
  if (seed !== undefined) return seed;
  if (worldSize > 1) throw new Error('buildReidTrainLoader: several processes need the same explicit seed');
  return Math.floor(Math.random() * 2 ** 32);
}

/**
 * Endless loader over the datasets of DATASETS.NAMES (query and gallery too with COMBINEALL), sampled, decoded
 * and transformed as the configuration says. One epoch is `loader.dataset.length / SOLVER.IMS_PER_BATCH`
 * iterations, rounded down; `loader.dataset.numClasses` is the number of identities.
 *
 * Throws when a dataset is missing, when no batch can be made of it, or when there are more cameras than
 * MODEL.BACKBONE.SIE_CAMERAS.
 */
export function buildReidTrainLoader(cfg: Config, options: TrainLoaderOptions = {}): DataLoader {
  const { rank = 0, worldSize = 1, root, device = cfg.MODEL.DEVICE, log = logger.info } = options;
  const items: ImageItem[] = [];
  const sets: number[] = [];
  for (const [set, name] of cfg.DATASETS.NAMES.entries()) {
    const dataset = openDataset(name, {
      root,
      combineAll: cfg.DATASETS.COMBINEALL,
      own: ownOptions(cfg),
    });
    if (rank === 0) log(dataset.showTrain());
    for (const item of dataset.train) {
      items.push(item);
      sets.push(set);
    }
  }
  if (items.length === 0) throw new Error('DATASETS.NAMES: nothing to train on');
  const dataset = new CommDataset(items, { relabel: true });
  checkCameras(cfg, dataset.numCameras);
  const seed = seedOf(options);
  const batchSize = batchPerProcess('SOLVER.IMS_PER_BATCH', cfg.SOLVER.IMS_PER_BATCH, worldSize);
  if (cfg.SOLVER.IMS_PER_BATCH > dataset.length) {
    throw new RangeError(
      `SOLVER.IMS_PER_BATCH ${cfg.SOLVER.IMS_PER_BATCH} is more than the ${dataset.length} pictures there are to train on`,
    );
  }
  const sampler = buildSampler(cfg, { items, sets, miniBatchSize: batchSize, seed, rank, worldSize });
  return new DataLoader({
    dataset,
    batches: new EndlessBatches(sampler, batchSize),
    pipeline: buildTransforms(cfg, true),
    seed,
    rank,
    workers: cfg.DATALOADER.NUM_WORKERS,
    cache: openCache(cfg.DATALOADER, options.localWorldSize),
    skipBroken: cfg.DATALOADER.SKIP_BROKEN,
    device,
  });
}

/** DATALOADER.CACHE as a cache, or none; `shares` processes keep to its limit together. */
function openCache({ CACHE, CACHE_GIB }: Config['DATALOADER'], shares = 1): ImageCache | undefined {
  if (CACHE === '') return undefined;
  const gib = Number(CACHE_GIB);
  if (!(gib > 0)) throw new RangeError(`DATALOADER.CACHE_GIB must be above 0, got ${gib}`);
  const limit = Math.floor(gib * 2 ** 30);
  if (CACHE === 'memory') return new ImageCache({ limit, shares });
  try {
    mkdirSync(CACHE, { recursive: true });
    accessSync(CACHE, constants.W_OK);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`DATALOADER.CACHE '${CACHE}' must be 'memory' or a folder to write to: ${message}`, {
      cause,
    });
  }
  return new ImageCache({ folder: CACHE, limit, shares });
}

export interface TestLoaderOptions extends LoaderOptions {
  /** Identities have the numbers of the classes of training, for classifiers; else those of the test set. */
  classes?: boolean;
}

/** A test loader, and what to do with the features of its pictures. */
export interface TestLoader {
  loader: DataLoader;
  /** Number of queries (of the first trial): the first pictures, where the data set has no protocol of its own. */
  numQuery: number;
  /** Which pictures are looked up in which, for `new ReidEvaluator(protocol)`. */
  protocol: Pick<TestSet, 'trials' | 'cameras'>;
  /** What cameras are called, by the numbers that the loader gives. */
  cameraName: (camera: number) => Label;
}

/**
 * Loader over the test pictures of the dataset `name`, each once and in order. With several processes, each gets one
 * contiguous piece of the list. With MODEL.BACKBONE.SIE_CAMERAS, cameras have the numbers of the training sets.
 */
export function buildReidTestLoader(cfg: Config, name: string, options: TestLoaderOptions = {}): TestLoader {
  const { rank = 0, worldSize = 1, root, device = cfg.MODEL.DEVICE, log = logger.info } = options;
  const source = openDataset(name, { root, own: ownOptions(cfg) });
  if (rank === 0) log(source.showTest());
  const { images, trials, cameras } = source.testSet();
  const labelled = options.classes ? withTrainingClasses(cfg, source, images, root) : images;
  const dataset = new CommDataset(withTrainingCameras(cfg, source, labelled, root), { relabel: false });
  const indices = new InferenceSampler(dataset.length, { rank, worldSize });
  const loader = new DataLoader({
    dataset,
    batches: new FiniteBatches(indices, Math.max(1, Math.floor(cfg.TEST.IMS_PER_BATCH / worldSize))),
    pipeline: buildTransforms(cfg, false),
    workers: cfg.DATALOADER.NUM_WORKERS,
    skipBroken: cfg.DATALOADER.SKIP_BROKEN,
    device,
  });
  const cameraNames = new Map(dataset.items.map(({ camid }, i) => [camid, source.cameraName(images[i])]));
  return {
    loader,
    numQuery: trials[0].query.length,
    protocol: { trials, cameras },
    cameraName: (camera) => cameraNames.get(camera) ?? camera,
  };
}
