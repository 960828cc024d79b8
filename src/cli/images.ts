import { Option } from 'commander';
import type { Config } from '../config/index.js';
import type { ImageItem } from '../data/index.js';
import type { Label } from '../data/labels.js';
import type { FeatureSet } from '../retrieval/index.js';
import { UsageError } from './errors.js';

/** Which images a command is to read. */
export interface ImageFlags {
  list?: string;
  dataset?: string;
  split: Split;
}

const SPLITS = ['test', 'query', 'gallery', 'train'] as const;
type Split = (typeof SPLITS)[number];

/** Images, without their features yet. */
export interface ImageSet extends Omit<FeatureSet, 'features'> {
  /** Numbers that their cameras had in training, for models with embeddings of cameras, where they can be known. */
  trainingCameras?: number[];
}

export function imageOptions(): Option[] {
  return [
    new Option(
      '--list <file>',
      'file with an image a line: path, or path, identity and camera, parted by tabs',
    ),
    new Option(
      '--dataset <name>',
      'images of a data set, by the name that DATASETS.TESTS has for it (also folder:PATH)',
    ),
    new Option('--split <split>', "which of the data set's images; test is query and gallery")
      .choices(SPLITS)
      .default('test'),
  ];
}

/** The images that arguments and options name: exactly one of arguments, `--list` and `--dataset`. */
export async function chooseImages(
  cfg: Config,
  names: readonly string[],
  flags: ImageFlags,
): Promise<ImageSet> {
  const given = [names.length > 0, flags.list !== undefined, flags.dataset !== undefined];
  if (given.filter(Boolean).length !== 1) {
    throw new UsageError('name images, or give --list FILE, or --dataset NAME');
  }
  const { findImages, readImageList } = await import('../data/index.js');
  if (flags.dataset !== undefined) return ofDataset(cfg, flags.dataset, flags.split);
  if (flags.list === undefined) return { paths: findImages(names) };
  const images = readImageList(flags.list);
  const column = (key: 'identity' | 'camera'): string[] | undefined =>
    images[0][key] === undefined ? undefined : images.map((image) => image[key]!);
  return { paths: images.map(({ path }) => path), identities: column('identity'), cameras: column('camera') };
}

async function ofDataset(cfg: Config, name: string, split: Split): Promise<ImageSet> {
  const { openDataset, ownOptions, trainingCameraNumbers } = await import('../data/index.js');
  const dataset = openDataset(name, { own: ownOptions(cfg) });
  const withNumbers = (set: ImageSet, cameras: Label[]): ImageSet =>
    cfg.MODEL.BACKBONE.SIE_CAMERAS === 0
      ? set
      : { ...set, trainingCameras: trainingCameraNumbers(cfg, cameras) };
  if (split === 'train') {
    const cameras = dataset.train.map(({ camid }) => camid);
    return withNumbers(labelled(dataset.train, dataset.hasCameras), cameras);
  }
  const { images, trials, cameras } = dataset.testSet();
  const some = split === 'test' ? images : dataset[split];
  const shown = some.map((item) => ({
    ...item,
    pid: dataset.identityName(item),
    camid: dataset.cameraName(item),
  }));
  return withNumbers(
    { ...labelled(shown, cameras), ...(split === 'test' && { protocol: { trials, cameras } }) },
    some.map((item) => dataset.trainingCamera(item)),
  );
}

/** @param cameras whether they are known: numbers that stand for nothing must not look like cameras */
function labelled(images: readonly ImageItem[], cameras: boolean): ImageSet {
  return {
    paths: images.map(({ imgPath }) => imgPath),
    identities: images.map(({ pid }) => pid),
    ...(cameras && { cameras: images.map(({ camid }) => camid) }),
  };
}
