import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Config } from '../../config/index.js';
import type { DatasetOptions, ImageDataset } from './base.js';
import { FolderDataset } from './folder.js';
import { ManifestDataset } from './manifest.js';
import type { OwnOptions } from './own.js';
import { DATASET_REGISTRY } from './registry.js';

const OWN = { folder: FolderDataset, manifest: ManifestDataset };

export interface OpenOptions extends DatasetOptions {
  /** DATASETS.OWN, for `folder:` and `manifest:`. */
  own?: OwnOptions;
}

/** DATASETS.OWN, for {@link openDataset}. */
export function ownOptions(cfg: Config): Required<OwnOptions> {
  const { TEST_SHARE, SEED, CAMERA_PATTERN } = cfg.DATASETS.OWN;
  return { testShare: TEST_SHARE, seed: SEED, cameraPattern: CAMERA_PATTERN };
}

function openRegistered(name: string, options: DatasetOptions): ImageDataset {
  const [, registered, split] = /^(.*?)(?:#(\d+))?$/.exec(name)!;
  const dataset = DATASET_REGISTRY.get(registered);
  if (split === undefined) return new dataset(options);
  const { splits = 0 } = dataset;
  if (Number(split) < splits) return new dataset({ ...options, split: Number(split) });
  const there = splits > 0 ? `${registered}#0 to ${registered}#${splits - 1}` : `only ${registered}`;
  throw new RangeError(`there is no '${name}': there is ${there}`);
}

/**
 * The dataset that DATASETS.NAMES or DATASETS.TESTS calls `name`: one of the registry, with `#k` behind it for its
 * division k (from 0) into training and test where it has several; or pictures of one's own as
 * `folder:/path` or `manifest:/path.csv`, with `#all` behind the path if they are not to be divided into training and
 * test.
 *
 * Throws when it is not known or its files are missing.
 */
export function openDataset(name: string, { own, ...options }: OpenOptions = {}): ImageDataset {
  const match = /^(folder|manifest):(.+?)(#all)?$/.exec(name);
  if (match === null) return openRegistered(name, options);
  const [, kind, given, all] = match;
  const path = resolve(given === '~' || given.startsWith('~/') ? join(homedir(), given.slice(1)) : given);
  const dataset = OWN[kind as keyof typeof OWN];
  return new dataset(path, { ...options, ...own, all: all !== undefined });
}
