import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FeatureSet, makeTest } from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';

const set = (paths: string[], labels: Partial<FeatureSet> = {}): FeatureSet => ({
  features: torch.tensor(Float32Array.from(paths.flatMap((path) => [path.charCodeAt(0), 1]))).view([-1, 2]),
  paths,
  ...labels,
});

test('a protocol of the file is kept; names become numbers', () => {
  const protocol = { trials: [{ query: [0], gallery: [1, 2] }], cameras: true };
  const made = makeTest(
    set(['a', 'b', 'c'], { identities: ['x', 9, 'x'], cameras: ['l', 'r', 'l'], protocol }),
  );
  assert.equal(made.protocol, protocol);
  assert.deepEqual(made.pids, [1, 0, 1]);
  assert.deepEqual(made.camids, [0, 1, 0]);
});

test('without a protocol, each image that has a partner is looked up in all', () => {
  const made = makeTest(set(['a', 'b', 'c'], { identities: [1, 2, 1] }));
  assert.deepEqual(made.protocol, { trials: [{ query: [0, 2], gallery: [0, 1, 2] }], cameras: false });
  assert.deepEqual(made.camids, [0, 0, 0]);
  assert.throws(() => makeTest(set(['a', 'b'], { identities: [1, 2] })), /got 0 and 2 images/);
});

test('queries of another file: pictures that both have are one', () => {
  const gallery = set(['a', 'b'], { identities: [1, 2], cameras: [1, 1] });
  const made = makeTest(gallery, set(['c', 'b'], { identities: [2, 2], cameras: [3, 1] }));
  assert.deepEqual(made.paths, ['a', 'b', 'c']);
  assert.deepEqual(made.protocol, { trials: [{ query: [2, 1], gallery: [0, 1] }], cameras: true });
  assert.deepEqual(made.features.toArray(), [
    [97, 1],
    [98, 1],
    [99, 1],
  ]);
});

test('two files of which only one knows something are refused by their names', () => {
  const full = { identities: [1], cameras: [3], mirrored: true };
  const gallery = set(['a'], full);
  const names = { gallery: 'g.npy', query: 'q.npy' };
  const make = (without: Partial<FeatureSet>, swap = false) => {
    const other = set(['b'], { ...full, ...without });
    return () => (swap ? makeTest(other, gallery, names) : makeTest(gallery, other, names));
  };
  make({})();
  assert.throws(make({ cameras: undefined }), /g\.npy has cameras, q\.npy has not/);
  assert.throws(make({ cameras: undefined }, true), /q\.npy has cameras, g\.npy has not/);
  assert.throws(make({ mirrored: undefined }), /g\.npy has features of mirrored images .*, q\.npy has not/);
  assert.throws(make({ identities: undefined }), /features of q\.npy do not say whose they are/);
  assert.throws(make({ identities: undefined }, true), /features of g\.npy do not say whose they are/);
});

test('features that cannot be judged', () => {
  assert.throws(() => makeTest(set(['a'])), /do not say whose they are/);
  const other = { ...set(['c'], { identities: [1] }), features: torch.ones([1, 5]) };
  assert.throws(
    () => makeTest(set(['a'], { identities: [1] }), other),
    /have 5 numbers, those of the gallery 2/,
  );
});
