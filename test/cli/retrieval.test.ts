import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import type { Config } from '../../src/config/index.js';
import { Checkpointer, DefaultTrainer } from '../../src/engine/index.js';
import { buildModel, type MetaArch } from '../../src/modeling/index.js';
import { loadFeatures } from '../../src/retrieval/index.js';
import { tinyConfig, writeTinySet } from '../engine/tiny.js';
import { repoRoot } from '../support/paths.js';
import { CommandLine, type Run, reidNative } from './support.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-retrieval-cli-'));
const data = join(folder, 'data');
const at = (name: string): string => join(folder, name);
const image = (id: number): string => join(data, `emoji-reid/query/000${id}_c1s1_000001_01.jpg`);
const model = [
  ...['--config-file', at('config.yaml'), '--weights', at('weights.pth')],
  ...['--import', join(repoRoot, 'dist/test/engine/tiny.js')],
];

const env = { FASTREID_DATASETS: data, OMP_NUM_THREADS: '1' };
const commandLine = new CommandLine(env);
const run = (...args: string[]): Promise<Run> => commandLine.run(args);

/** A process of its own, as a user starts it: once for each command. */
const alone = (...args: string[]): Promise<Run> => reidNative(args, env);

function succeeded({ code, stdout, stderr }: Run): string {
  assert.equal(code, 0, stdout + stderr);
  return stdout;
}
const succeed = async (...args: string[]): Promise<string> => succeeded(await run(...args));

async function loaded(cfg: Config): Promise<MetaArch> {
  const network = buildModel(cfg, () => {});
  await new Checkpointer(network).load(cfg.MODEL.WEIGHTS);
  return network;
}

before(async () => {
  await writeTinySet(data);
  const cfg = tinyConfig(folder);
  writeFileSync(at('config.yaml'), cfg.dump());
  await new Checkpointer(
    buildModel(cfg, () => {}),
    folder,
  ).save('weights');
  succeeded(await alone('embed', '--dataset', 'EmojiReID', ...model, '--out', at('emoji.safetensors')));
});
after(() => {
  commandLine[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('embed of a data set keeps identities, cameras and protocol', async () => {
  const { features, paths, identities, cameras, protocol } = loadFeatures(at('emoji.safetensors'));
  assert.deepEqual(features.shape, [24, 16]);
  assert.equal(paths[0], image(1));
  assert.deepEqual(identities?.slice(0, 7), [1, 2, 3, 4, 5, 6, 1]);
  assert.deepEqual(cameras?.slice(5, 8), [0, 1, 2]);
  assert.deepEqual(protocol?.trials[0].query, [0, 1, 2, 3, 4, 5]);
  assert.equal(protocol?.cameras, true);
});

test('embed of a list, to a .npy file with a .json file beside it', async () => {
  writeFileSync(at('list.txt'), [1, 2, 3].map((id) => `${image(id)}\tid${id}\tfront\n`).join(''));
  const stdout = await succeed('embed', '--list', at('list.txt'), ...model, '--out', at('list.npy'));
  assert.match(stdout, /3 features of 16 numbers written to .*list\.npy/);
  assert.ok(existsSync(at('list.json')));
  const listed = loadFeatures(at('list.npy'));
  assert.deepEqual(listed.identities, ['id1', 'id2', 'id3']);
  assert.deepEqual(listed.cameras, ['front', 'front', 'front']);
  const whole = loadFeatures(at('emoji.safetensors')).features.narrow(0, 0, 3);
  assert.ok(Number(listed.features.sub(whole).abs().max().item()) < 1e-5);
});

test('embed of a folder and of a pattern: the same images', async () => {
  const query = join(data, 'emoji-reid/query');
  await succeed('embed', query, ...model, '--out', at('folder.safetensors'));
  await succeed('embed', join(query, '*.jpg'), ...model, '--out', at('pattern.safetensors'));
  const one = loadFeatures(at('folder.safetensors'));
  const other = loadFeatures(at('pattern.safetensors'));
  assert.deepEqual(one.paths, other.paths);
  assert.deepEqual(one.paths, [1, 2, 3, 4, 5, 6].map(image));
  assert.deepEqual(one.features.toArray(), other.features.toArray());
  assert.equal(one.identities, undefined);
});

test('evaluate gives what the model gives, from its features alone', async () => {
  const cfg = tinyConfig(folder, ['MODEL.WEIGHTS', at('weights.pth'), 'OUTPUT_DIR', at('logs')]);
  process.env.FASTREID_DATASETS = data;
  const results = (await DefaultTrainer.test(cfg, await loaded(cfg))) as Record<string, number>;
  const stdout = succeeded(await alone('evaluate', '--features', at('emoji.safetensors')));
  const [, head, , row] = stdout.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
  assert.equal(head[2], 'Rank-1');
  head.slice(2, -1).forEach((name, i) => {
    assert.equal(row[i + 2], results[name].toFixed(2), name);
  });
});

test('evaluate of a gallery and queries in two files', async () => {
  const split = (name: string): Promise<string> =>
    succeed('embed', '--dataset', 'EmojiReID', '--split', name, ...model, '--out', at(`${name}.safetensors`));
  await split('query');
  await split('gallery');
  const both = await succeed(
    'evaluate',
    '--features',
    at('gallery.safetensors'),
    '--query',
    at('query.safetensors'),
  );
  const whole = await succeed('evaluate', '--features', at('emoji.safetensors'));
  const numbers = (text: string): string[] => text.split('\n')[3].split('|').slice(2);
  assert.deepEqual(numbers(both), numbers(whole));
  const keys = ['TEST.METRIC', 'euclidean', 'TEST.ROC.ENABLED', 'True', 'TEST.RERANK.ENABLED', 'True'];
  const more = await succeed(
    'evaluate',
    '--features',
    at('emoji.safetensors'),
    '--out',
    at('results'),
    ...keys,
  );
  assert.match(more, /^euclidean distance, re-ranking .*:\n\|.*TPR@FPR=1e-06/);
  assert.deepEqual(readdirSync(at('results')).sort(), ['evaluation.csv', 'evaluation.json']);
});

test('evaluate says what to do about features without identities', async () => {
  await succeed('embed', image(1), image(2), ...model, '--out', at('bare.safetensors'));
  const { code, stderr } = await run('evaluate', '--features', at('bare.safetensors'));
  assert.equal(code, 1);
  assert.match(stderr, /do not say whose they are.*embed a data set/);
});

test('evaluate refuses a COMPAT that it does not know, instead of naming it in the table', async () => {
  const { code, stderr } = await run('evaluate', '--features', at('emoji.safetensors'), 'COMPAT', 'FastReID');
  assert.equal(code, 1);
  assert.match(stderr, /COMPAT is "FastReID", but can only be empty or "fastreid"/);
});

test('embed writes no cameras where the data set knows none, and identities by their names', async () => {
  const folder = at('no-cameras');
  for (const identity of ['a', 'b', 'c', 'd']) {
    mkdirSync(join(folder, identity), { recursive: true });
    for (const n of [1, 2]) copyFileSync(image(n), join(folder, identity, `${n}.jpg`));
  }
  const out = at('query.safetensors');
  await succeed('embed', '--dataset', `folder:${folder}#all`, '--split', 'query', ...model, '--out', out);
  assert.equal(loadFeatures(out).cameras, undefined);
  assert.deepEqual(loadFeatures(out).identities, ['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd']);
});

test('search prints the nearest, the image itself first, and draws them', async () => {
  const out = at('found');
  const stdout = succeeded(
    await alone(
      ...['search', '--index', at('emoji.safetensors'), image(2), image(5), ...model],
      ...['--top', '3', '--out', out],
    ),
  );
  const lines = stdout.split('\n');
  assert.equal(lines[0], image(2));
  assert.match(lines[1], /^ {2}-?0\.0000\t.*0002_c1s1_000001_01\.jpg\t2\t0$/);
  assert.equal(lines[5], image(5));
  const png = join(out, '2-0005_c1s1_000001_01.png');
  assert.equal(lines[9], `  drawn: ${png}`);
  const { width, height, format } = await sharp(png).metadata();
  assert.equal(format, 'png');
  assert.ok(width > 4 * 160 && height > 200, `${width} × ${height}`);
});

test('visualize draws from features, or from a model, and chosen queries', async () => {
  const from = ['--features', at('emoji.safetensors')];
  const stdout = succeeded(
    await alone('visualize', ...from, '--out', at('seen'), '--num', '2', '--top', '4'),
  );
  assert.match(stdout, /Rank-1 \d+\.\d\d, mAP \d+\.\d\d; 2 rank lists drawn\nOpen .*report\.html/);
  assert.equal(readdirSync(at('seen/lists')).length, 2);
  const chosen = ['--queries', '0004_c1s1_000001_01.jpg'];
  await succeed('visualize', ...model, '--dataset', 'EmojiReID', '--out', at('one'), ...chosen);
  assert.deepEqual(readdirSync(at('one/lists')), ['1-0004_c1s1_000001_01.png']);
  const unknown = await run('visualize', ...from, '--out', at('none'), '--queries', 'nobody.jpg');
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /--queries nobody\.jpg: 0 of the 6 queries are called so/);
  assert.ok(!existsSync(at('none')));
});

test('features of mirrored images: evaluated as the images are, and not to be had afterwards', async () => {
  const flip = ['TEST.FLIP.ENABLED', 'True'];
  const out = at('mirrored.safetensors');
  await succeed(
    ...['embed', '--dataset', 'EmojiReID', ...model, '--set', 'TEST.FLIP.ENABLED=True', '--out', out],
  );
  const cfg = tinyConfig(folder, ['MODEL.WEIGHTS', at('weights.pth'), 'OUTPUT_DIR', at('logs'), ...flip]);
  process.env.FASTREID_DATASETS = data;
  const results = (await DefaultTrainer.test(cfg, await loaded(cfg))) as Record<string, number>;
  for (const keys of [[], flip]) {
    const stdout = await succeed('evaluate', '--features', out, ...keys);
    assert.match(stdout, /^cosine distance, mirrored images, COMPAT: none:/);
    assert.match(stdout, new RegExp(`\\| ${results.mAP.toFixed(2)} `));
  }
  const { code, stderr } = await run('evaluate', '--features', at('emoji.safetensors'), ...flip);
  assert.equal(code, 2);
  assert.match(stderr, /TEST.FLIP: these features are not those of mirrored images too/);
});

test('SKIP_BROKEN: embed leaves out what cannot be read, and says so', async () => {
  const broken = at('broken.jpg');
  writeFileSync(broken, 'no picture');
  writeFileSync(at('some.txt'), [image(1), broken, image(2)].map((path, i) => `${path}\tid${i}\n`).join(''));
  const args = ['embed', '--list', at('some.txt'), ...model, '--out', at('some.safetensors')];
  const stopped = await run(...args);
  assert.equal(stopped.code, 1);
  assert.match(stopped.stderr, /cannot load '.*broken\.jpg'/);
  assert.ok(!existsSync(at('some.safetensors')));
  const { code, stdout, stderr } = await run(...args, '--set', 'DATALOADER.SKIP_BROKEN=True');
  assert.equal(code, 0, stderr);
  assert.match(stderr, /'.*broken\.jpg' cannot be loaded .* is left out; 1 such so far/);
  assert.match(stdout, /2 features of 16 numbers/);
  const { features, paths, identities } = loadFeatures(at('some.safetensors'));
  assert.deepEqual(paths, [image(1), image(2)]);
  assert.deepEqual(identities, ['id0', 'id2']);
  assert.ok(features.isfinite().all().item());
  const found = await succeed(
    ...['search', '--index', at('some.safetensors'), broken, image(2), ...model],
    ...['--top', '1', '--set', 'DATALOADER.SKIP_BROKEN=True'],
  );
  assert.match(found, new RegExp(`^${image(2)}\n {2}-?0\\.0000\t${image(2)}\tid2\n$`));
  const none = await run('embed', broken, ...args.slice(3), '--set', 'DATALOADER.SKIP_BROKEN=True');
  assert.match(none.stderr, /none of the 1 images could be read/);
});

test('visualize ranks as the configuration says, with the figures of evaluate', async () => {
  const from = ['--features', at('emoji.safetensors')];
  const table = await succeed('evaluate', ...from, 'TEST.RERANK.ENABLED', 'True', 'TEST.AQE.ENABLED', 'True');
  const [mode, , , row] = table.split('\n');
  const [, , rank1, , , mAP] = row.split('|').map((cell) => cell.trim());
  const keys = ['--set', 'TEST.RERANK.ENABLED=True', '--set', 'TEST.AQE.ENABLED=True'];
  const stdout = await succeed('visualize', ...from, ...keys, '--out', at('reranked'), '--num', '1');
  assert.ok(stdout.startsWith(`${at('emoji.safetensors')}, ${mode}\nRank-1 ${rank1}, mAP ${mAP};`), stdout);
  assert.match(readFileSync(at('reranked/report.html'), 'utf8'), /re-ranking \(k1 20/);
  const { code, stderr } = await run('visualize', ...from, '--out', at('none'), '--trial', '2');
  assert.equal(code, 2);
  assert.match(stderr, /--trial 2: .*emoji\.safetensors has 1/);
});
