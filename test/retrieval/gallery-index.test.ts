import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import {
  type FeatureSet,
  type GalleryEntry,
  GalleryIndex,
  loadFeatures,
  saveFeatures,
} from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';
import { repoRoot } from '../support/paths.js';

torch.setNumThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'reid-index-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const matrix = (rows: number[][], dim = 3): torch.Tensor =>
  torch.tensor(Float32Array.from(rows.flat())).view([rows.length, dim]);
const squared = (a: number[], b: number[]): number => a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0);
const entry = (path: string): GalleryEntry => ({ path, identity: path.length, camera: 'c' });

/** Small whole numbers: distances are exact in float32, and ties are common. */
const row = fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 3, maxLength: 3 });
const name = fc.integer({ min: 0, max: 30 }).map((i) => `${'x'.repeat(i % 3)}${i}.jpg`);
const step = fc.oneof(
  fc.record({ add: fc.uniqueArray(fc.tuple(name, row), { maxLength: 8, selector: ([path]) => path }) }),
  fc.record({ remove: fc.array(name, { maxLength: 6 }) }),
  fc.record({ search: fc.array(row, { minLength: 1, maxLength: 4 }), k: fc.integer({ min: 1, max: 12 }) }),
  fc.constant({ reload: true as const }),
);

test('whatever is added, removed, saved and loaded: a search equals sorting all distances', () => {
  const path = join(folder, 'index.safetensors');
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      let index = new GalleryIndex(3, { metric: 'euclidean', budget: 1e-4 });
      let reference: { path: string; values: number[] }[] = [];
      try {
        for (const one of steps) {
          if ('add' in one) {
            const fresh = one.add.filter(([path]) => !reference.some((known) => known.path === path));
            index.add(
              matrix(fresh.map(([, values]) => values)),
              fresh.map(([path]) => entry(path)),
            );
            reference.push(...fresh.map(([path, values]) => ({ path, values })));
          } else if ('remove' in one) {
            const before = reference.length;
            reference = reference.filter((known) => !one.remove.includes(known.path));
            assert.equal(index.remove(one.remove), before - reference.length);
          } else if ('reload' in one) {
            index.save(path);
            index.dispose();
            index = GalleryIndex.load(path, { metric: 'euclidean' });
          } else {
            const expected = one.search.map((query) =>
              reference
                .map(({ path, values }) => ({ ...entry(path), distance: squared(query, values) }))
                .sort((a, b) => a.distance - b.distance)
                .slice(0, one.k),
            );
            assert.deepEqual(index.search(matrix(one.search), one.k), expected);
          }
          assert.deepEqual(
            index.entries,
            reference.map(({ path }) => entry(path)),
          );
        }
      } finally {
        index.dispose();
      }
    }),
    { numRuns: 150 },
  );
});

test('cosine: lengths do not count', () => {
  const index = new GalleryIndex(2);
  index.add(
    torch.tensor([
      [0, 5],
      [3, 0],
      [1, 1],
    ]),
    ['up', 'right', 'both'].map((path) => ({ path })),
  );
  const [found] = index.search(torch.tensor([[0.1, 0]]), 2);
  assert.deepEqual(
    found.map(({ path }) => path),
    ['right', 'both'],
  );
  assert.ok(Math.abs(found[0].distance) < 1e-6 && Math.abs(found[1].distance - (1 - Math.SQRT1_2)) < 1e-6);
  assert.deepEqual(index.search(torch.ones([0, 2]), 3), []);
});

test('what cannot be added leaves the index as it was', () => {
  const index = new GalleryIndex(2);
  index.add(torch.ones([1, 2]), [{ path: 'a', identity: 1 }]);
  const refused = (features: torch.Tensor, entries: GalleryEntry[], message: RegExp): void => {
    assert.throws(() => index.add(features, entries), message);
    assert.equal(index.size, 1);
  };
  refused(torch.ones([1, 2]), [{ path: 'a', identity: 1 }], /a is in the index already/);
  refused(
    torch.ones([2, 2]),
    [
      { path: 'b', identity: 1 },
      { path: 'b', identity: 1 },
    ],
    /b is in the index already/,
  );
  refused(
    torch.ones([1, 2]),
    [{ path: 'b' }],
    /b: either all images of an index have their identity or none/,
  );
  refused(torch.tensor([[1, Number.NaN]]), [{ path: 'b', identity: 2 }], /the feature of b holds numbers/);
  refused(
    torch.ones([1, 3]),
    [{ path: 'b', identity: 2 }],
    /must be a float matrix \[n, 2\], got float32 \[1, 3\]/,
  );
  refused(torch.ones([2, 2]), [{ path: 'b', identity: 2 }], /2 features for 1 images/);
  assert.throws(
    () => index.search(torch.tensor([[Infinity, 0]]), 1),
    /query 0 holds numbers that are not finite/,
  );
  assert.throws(() => index.search(torch.ones([1, 2]), 0), /0 neighbours/);
});

test('an index of a test set whose gallery has the queries too: each image once', () => {
  const path = join(folder, 'twice.npy');
  saveFeatures(path, {
    features: torch.tensor([
      [1, 0],
      [0, 1],
      [9, 9],
    ]),
    paths: ['a', 'b', 'a'],
  });
  using index = GalleryIndex.load(path);
  assert.deepEqual(
    index.search(torch.tensor([[1, 0]]), 5).map((list) => list.map((found) => found.path)),
    [['a', 'b']],
  );
});

test('loaded and saved: everything that the file says of its images is written again', () => {
  const path = join(folder, 'again.safetensors');
  const known = {
    paths: ['q', 'a', 'b'],
    identities: [1, 1, 'x'],
    cameras: ['door', 'gate', 'gate'],
    protocol: { trials: [{ query: [0], gallery: [1, 2] }], cameras: true },
    mirrored: true,
  };
  saveFeatures(path, { ...known, features: torch.eye(3) });
  const again = (change: (index: GalleryIndex) => void): Omit<FeatureSet, 'features'> => {
    using index = GalleryIndex.load(path);
    change(index);
    index.save(path);
    const { features, ...rest } = loadFeatures(path);
    assert.equal(features.shape[0], rest.paths.length);
    return rest;
  };
  assert.deepEqual(
    again(() => {}),
    known,
  );
  const added = again((index) => index.add(torch.ones([1, 3]), [{ path: 'c', identity: 2, camera: 'door' }]));
  assert.deepEqual(added.protocol, known.protocol);
  const removed = again((index) => void index.remove(['a']));
  assert.deepEqual(removed.paths, ['q', 'b', 'c']);
  assert.deepEqual(removed.protocol, { trials: [{ query: [0], gallery: [1] }], cameras: true });
  assert.equal(removed.mirrored, true);
});

test('a query that is in the gallery too is one image of the index, and of the test that is saved', () => {
  const path = join(folder, 'both.safetensors');
  const protocol = { trials: [{ query: [0], gallery: [1, 2] }], cameras: true };
  saveFeatures(path, { features: torch.eye(3), paths: ['a', 'b', 'a'], protocol });
  using index = GalleryIndex.load(path);
  index.save(path);
  const saved = loadFeatures(path);
  assert.deepEqual(saved.paths, ['a', 'b']);
  assert.deepEqual(saved.protocol?.trials, [{ query: [0], gallery: [1, 0] }]);
});

for (const ending of ['safetensors', 'npy']) {
  test(`killed while saving .${ending}: features of one save, and never the paths of another`, async () => {
    const path = join(folder, `killed.${ending}`);
    for (let round = 0; round < 3; round++) {
      const program = join(repoRoot, 'dist/test/retrieval/endless-save.js');
      const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(child.stdout, 'data');
      await sleep(10 + 25 * round);
      child.kill('SIGKILL');
      await once(child, 'close');
      const { features, paths } = loadFeatures(path);
      const save = Number(features.min().item());
      assert.equal(Number(features.max().item()), save);
      assert.equal(paths.length, 4000);
      // A crash between the two files of a .npy file leaves it without paths.
      const whole = ending === 'safetensors' || existsSync(path.replace('.npy', '.json'));
      assert.ok(paths.every((name) => name.startsWith(whole ? `${save}/` : '#')));
    }
  });
}
