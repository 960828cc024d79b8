import { type Label, numberLabels } from '../data/labels.js';
import type { TestProtocol } from '../evaluation/index.js';
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
 * Throws when identities are not known, or nothing can be looked up.
 */
export function makeTest(set: FeatureSet, query?: FeatureSet): TestData {
  const all = query === undefined ? set : joined(set, query);
  const { features, paths, identities, cameras } = all;
  if (identities === undefined) {
    throw new Error(
      'these features do not say whose they are, and so cannot be judged: embed a data set (--dataset), or a list ' +
        'with identities (--list)',
    );
  }
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
  return { features, paths, pids, camids, identities, cameras, protocol };
}

function everyImage(pids: readonly number[], cameras: boolean): TestProtocol {
  const count = new Map<number, number>();
  for (const pid of pids) count.set(pid, (count.get(pid) ?? 0) + 1);
  const gallery = pids.map((_, row) => row);
  return { trials: [{ query: gallery.filter((row) => count.get(pids[row])! > 1), gallery }], cameras };
}

/** Gallery and queries in one set, with the protocol that follows. */
function joined(gallery: FeatureSet, query: FeatureSet): FeatureSet {
  const [, dim] = gallery.features.shape;
  if (query.features.shape[1] !== dim) {
    throw new Error(
      `query features have ${query.features.shape[1]} numbers, gallery features ${dim}: not of one model`,
    );
  }
  const rows = new Map(gallery.paths.map((path, row) => [path, row]));
  const fresh: number[] = [];
  const queryRows = query.paths.map((path, row) => {
    const known = rows.get(path);
    if (known !== undefined) return known;
    fresh.push(row);
    return gallery.paths.length + fresh.length - 1;
  });
  const at = torch.tensor(BigInt64Array.from(fresh, BigInt));
  const features = torch.cat([gallery.features, query.features.index_select(0, at)], 0);
  const labels = (key: 'identities' | 'cameras'): Label[] | undefined => {
    const [mine, others] = [gallery[key], query[key]];
    return mine && others && [...mine, ...fresh.map((row) => others[row])];
  };
  const cameras = labels('cameras');
  const trial = { query: queryRows, gallery: gallery.paths.map((_, row) => row) };
  return {
    features,
    paths: [...gallery.paths, ...fresh.map((row) => query.paths[row])],
    identities: labels('identities'),
    cameras,
    protocol: { trials: [trial], cameras: cameras !== undefined },
  };
}
