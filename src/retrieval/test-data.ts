import { type Label, numberLabels } from '../data/labels.js';
import { type TestProtocol, takeRows } from '../evaluation/index.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { FeatureSet } from './features.js';

/** Features that can be evaluated: whose they are, by numbers, and what is looked up in what. */
export interface TestData {
  /** Float32 [images, dim]. */
  features: Tensor;
  paths: string[];
  /** Identity and camera of each image, numbered; cameras are 0 where they are not known. */
  pids: number[];
  camids: number[];
  /** The same as they are called. */
  identities: Label[];
  cameras: Label[] | undefined;
  protocol: TestProtocol;
  /** As in {@link FeatureSet}. */
  mirrored: boolean;
}

/** What the two sets of a test are called in messages. */
export interface SetNames {
  gallery: string;
  query: string;
}

/**
 * Makes a test of features.
 *
 * - With `query`, its images are looked up in those of `set`; a picture that is in both is one picture.
 * - Else by the set's own protocol.
 * - Else every image of which the set has another with the same identity is looked up in the whole set.
 *
 * Where cameras are known, gallery images of the query's identity and camera do not count; elsewhere only the query
 * image itself does not. New features belong to the open scope.
 *
 * Throws when identities are not known, only one of the sets knows cameras, or nothing can be looked up.
 */
export function makeTest(
  set: FeatureSet,
  query?: FeatureSet,
  names: SetNames = { gallery: 'the gallery', query: 'the queries' },
): TestData {
  for (const [one, name] of [
    [set, query === undefined ? 'these features' : `the features of ${names.gallery}`],
    [query, `the features of ${names.query}`],
  ] as const) {
    if (one === undefined || one.identities !== undefined) continue;
    throw new Error(
      `${name} do not say whose they are, and so cannot be judged: embed a data set (--dataset), or a list ` +
        'with identities (--list)',
    );
  }
  const all = query === undefined ? set : joined(set, query, names);
  const { features, paths, cameras, mirrored = false } = all;
  const identities = all.identities!;
  const numbered = numberLabels(identities);
  const pids = identities.map((label) => numbered.get(label)!);
  const cameraNumbers = numberLabels(cameras ?? []);
  const camids = cameras?.map((label) => cameraNumbers.get(label)!) ?? paths.map(() => 0);
  const protocol = all.protocol ?? everyImage(pids, cameras !== undefined);
  for (const trial of protocol.trials) {
    if (trial.query.length > 0 && trial.gallery.length > 0) continue;
    throw new Error(
      `a test needs queries and a gallery; got ${trial.query.length} and ${trial.gallery.length} images`,
    );
  }
  return { features, paths, pids, camids, identities, cameras, protocol, mirrored };
}

function everyImage(pids: readonly number[], cameras: boolean): TestProtocol {
  const count = new Map<number, number>();
  for (const pid of pids) count.set(pid, (count.get(pid) ?? 0) + 1);
  const gallery = pids.map((_, row) => row);
  return { trials: [{ query: gallery.filter((row) => count.get(pids[row])! > 1), gallery }], cameras };
}

/** Gallery and queries in one set, with the protocol that follows. */
function joined(gallery: FeatureSet, query: FeatureSet, names: SetNames): FeatureSet {
  const [, dim] = gallery.features.shape;
  if (query.features.shape[1] !== dim) {
    throw new Error(
      `features of ${names.query} have ${query.features.shape[1]} numbers, those of ${names.gallery} ${dim}: not of one model`,
    );
  }
  const differs = (what: string, inGallery: boolean, inQuery: boolean): void => {
    if (inGallery === inQuery) return;
    const [having, without] = inGallery ? [names.gallery, names.query] : [names.query, names.gallery];
    throw new Error(
      `${having} has ${what}, ${without} has not: embed one of them again, so that both have or neither`,
    );
  };
  differs('cameras', gallery.cameras !== undefined, query.cameras !== undefined);
  differs('features of mirrored images (TEST.FLIP)', gallery.mirrored ?? false, query.mirrored ?? false);
  const rows = new Map(gallery.paths.map((path, row) => [path, row]));
  const fresh: number[] = [];
  const queryRows = query.paths.map((path, row) => {
    const known = rows.get(path);
    if (known !== undefined) return known;
    fresh.push(row);
    return gallery.paths.length + fresh.length - 1;
  });
  const features = torch.cat([gallery.features, takeRows(query.features, fresh)], 0);
  const labels = (mine: Label[] | undefined, others: Label[] | undefined): Label[] | undefined =>
    mine && others && [...mine, ...fresh.map((row) => others[row])];
  const cameras = labels(gallery.cameras, query.cameras);
  const trial = { query: queryRows, gallery: gallery.paths.map((_, row) => row) };
  return {
    features,
    paths: [...gallery.paths, ...fresh.map((row) => query.paths[row])],
    identities: labels(gallery.identities, query.identities),
    cameras,
    protocol: { trials: [trial], cameras: cameras !== undefined },
    mirrored: gallery.mirrored,
  };
}
