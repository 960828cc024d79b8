import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type FeatureSet, loadFeatures, saveFeatures, selectImages } from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'reid-features-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string): string => join(folder, name);

const set = (): FeatureSet => ({
  features: torch.tensor([
    [1, 2],
    [3, 4],
    [5, 6],
  ]),
  paths: ['a.jpg', 'ä "b".jpg', 'c.jpg'],
  identities: [7, 'x', 7],
  cameras: [1, 2, 3],
  protocol: { trials: [{ query: [0], gallery: [1, 2] }], cameras: true },
  mirrored: true,
});

for (const ending of ['safetensors', 'npy']) {
  test(`features and what is known of their images go to .${ending} and back`, () => {
    const path = file(`all.${ending}`);
    const given = set();
    saveFeatures(path, given);
    const { features, ...rest } = loadFeatures(path);
    assert.deepEqual(features.toArray(), given.features.toArray());
    assert.equal(features.dtype, torch.float32);
    const { features: _, ...expected } = given;
    assert.deepEqual(rest, expected);
    const bare = { features: given.features, paths: given.paths };
    saveFeatures(path, bare);
    assert.deepEqual(loadFeatures(path).identities, undefined);
    assert.deepEqual(loadFeatures(path).protocol, undefined);
  });
}

test('an array by itself, of another precision, is a feature set too', () => {
  const path = file('alone.npy');
  torch.saveNpy(torch.ones([2, 3], { dtype: torch.float64 }), path);
  const { features, paths } = loadFeatures(path);
  assert.equal(features.dtype, torch.float32);
  assert.deepEqual(paths, ['#0', '#1']);
});

test('some images of a set: labels and protocol go with them', () => {
  const { features, ...rest } = selectImages(set(), [2, 0]);
  assert.deepEqual(features.toArray(), [
    [5, 6],
    [1, 2],
  ]);
  assert.deepEqual(rest, {
    paths: ['c.jpg', 'a.jpg'],
    identities: [7, 7],
    cameras: [3, 1],
    protocol: { trials: [{ query: [1], gallery: [0] }], cameras: true },
    mirrored: true,
  });
});

test('labels that do not fit are refused before anything is written', () => {
  for (const ending of ['safetensors', 'npy']) {
    const path = file(`none.${ending}`);
    assert.throws(() => saveFeatures(path, { ...set(), cameras: [1] }), /1 cameras for 3 features/);
    assert.throws(
      () => saveFeatures(path, { ...set(), identities: [1, Number.NaN, 2] }),
      /identities\[1\] is null/,
    );
    const protocol = { trials: [{ query: [3], gallery: [0] }], cameras: true };
    assert.throws(() => saveFeatures(path, { ...set(), protocol }), /which of the 3 images are looked up/);
    assert.ok(!existsSync(path) && !existsSync(file('none.json')));
  }
  assert.throws(() => saveFeatures(file('x.txt'), set()), /must end in \.safetensors or \.npy/);
});

test('files that hold something else are named', () => {
  const path = file('other.safetensors');
  torch.saveSafetensors(new Map([['weight', torch.ones([2])]]), path);
  assert.throws(() => loadFeatures(path), /other\.safetensors: there is no tensor 'features'.*weight/);
  torch.saveSafetensors(new Map([['features', torch.ones([2])]]), path);
  assert.throws(() => loadFeatures(path), /must be a matrix of floats, got float32 of shape \[2\]/);
  torch.saveSafetensors(new Map([['features', torch.ones([2, 2])]]), path, { paths: '["a"' });
  assert.throws(() => loadFeatures(path), /metadata\.paths is not JSON/);
  torch.saveSafetensors(new Map([['features', torch.ones([2, 2])]]), path, { paths: '{"length": 2}' });
  assert.throws(() => loadFeatures(path), /no list of paths for 2 features/);
  const npy = file('pair.npy');
  saveFeatures(npy, set());
  writeFileSync(file('pair.json'), 'null');
  assert.throws(() => loadFeatures(npy), /pair\.json must hold a JSON object/);
  assert.ok(readFileSync(npy).length > 0);
  torch.saveNpy(torch.ones([2, 2]), npy);
  writeFileSync(file('pair.json'), JSON.stringify({ paths: ['a', 'b', 'c'] }));
  assert.throws(
    () => loadFeatures(npy),
    /pair\.npy and .*pair\.json: 3 paths for 2 features: .*not of the same features; write both again, or remove/,
  );
});

test('a full disk leaves the features, and what is known of their images, as they were', {
  skip: process.platform === 'win32',
}, () => {
  const library = (name: string): string =>
    JSON.stringify(new URL(`../../src/${name}/index.js`, import.meta.url).href);
  const script = `
    import { saveFeatures } from ${library('retrieval')};
    import * as torch from ${library('torch')};
    const paths = Array.from({ length: 1 << 12 }, (_, i) => 'other/' + i);
    const sizes = { array: [paths, 16], labels: [paths.map((path) => path.padEnd(99, '0')), 1] };
    for (const [name, [paths, dim]] of Object.entries(sizes)) {
      try { saveFeatures(process.argv[1], { features: torch.zeros([paths.length, dim]), paths }); }
      catch (error) { console.log(name, error.code); }
    }`;
  const home = mkdtempSync(join(folder, 'full-'));
  const path = join(home, 'features.npy');
  const given = set();
  saveFeatures(path, given);
  // Files may not grow beyond 128 KiB in this shell, which is what a full disk looks like to a program.
  const shell = `trap '' XFSZ; ulimit -f 256; exec "$0" --input-type=module -e "$1" "$2"`;
  const { stdout, stderr } = spawnSync('sh', ['-c', shell, process.execPath, script, path], {
    encoding: 'utf8',
  });
  assert.equal(stdout, 'array EFBIG\nlabels EFBIG\n', stderr);
  const { features, paths } = loadFeatures(path);
  assert.deepEqual(features.toArray(), given.features.toArray());
  assert.deepEqual(paths, given.paths);
  assert.deepEqual(readdirSync(home).sort(), ['features.json', 'features.npy']);
});
