import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import { getCfg } from '../../src/config/index.js';
import { Checkpointer } from '../../src/engine/index.js';
import { buildModel } from '../../src/modeling/index.js';
import { loadFeatures } from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';
import { COLOUR } from '../engine/colour.js';
import { tinyConfig, writeTinySet } from '../engine/tiny.js';
import { repoRoot } from '../support/paths.js';
import { CommandLine, reidNative } from './support.js';

const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');
const small = ['MODEL.HEADS.NUM_CLASSES', '4', 'INPUT.SIZE_TEST', '[64, 32]', 'MODEL.DEVICE', 'cpu'];

const set = small.flatMap((word, i) => (i % 2 === 0 ? ['--set', `${word}=${small[i + 1]}`] : []));

/** An untrained model; pictures of two colours, and a data set of them in folders of identities. */
async function prepare(folder: string): Promise<{ always: string[]; pictures: Record<string, string> }> {
  const draw = async (path: string, [r, g, b]: number[]): Promise<string> => {
    mkdirSync(dirname(path), { recursive: true });
    const background = { r: r!, g: g!, b: b! };
    await sharp({ create: { width: 32, height: 64, channels: 3, background } }).toFile(path);
    return path;
  };
  const pictures = {
    query: await draw(join(folder, 'gallery/1/query.png'), [200, 30, 30]),
    same: await draw(join(folder, 'gallery/2/same.png'), [200, 30, 30]),
    right: await draw(join(folder, 'gallery/1/right.png'), [120, 60, 30]),
    other: await draw(join(folder, 'gallery/2/other.png'), [0, 255, 40]),
  };
  const weights = join(folder, 'model.safetensors');
  const cfg = getCfg();
  cfg.mergeFromFile(demo);
  cfg.mergeFromList([...small, 'MODEL.BACKBONE.PRETRAIN', 'False']);
  torch.manualSeed(1);
  torch.saveSafetensors(buildModel(cfg, () => undefined).stateDict(), weights);
  return { always: ['explain', '--config-file', demo, '--weights', weights, ...set], pictures };
}

const folder = mkdtempSync(join(tmpdir(), 'reid-explain-'));
const commandLine = new CommandLine({ FASTREID_DATASETS: folder, OMP_NUM_THREADS: '1' });
let always: string[];
let pictures: Record<string, string>;
before(async () => {
  await writeTinySet(folder);
  ({ always, pictures } = await prepare(folder));
});
after(() => {
  commandLine[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

const line = (stdout: string, start: string): string =>
  stdout.split('\n').find((each) => each.startsWith(start)) ?? `no '${start}' in:\n${stdout}`;

test('the most similar images of a folder, as a picture', async () => {
  const out = join(folder, 'out.png');
  const gallery = ['--gallery', join(folder, 'gallery')];
  const args = ['--query', pictures.query!, ...gallery, '--out', out, '--top', '2'];
  const { code, stdout, stderr } = await reidNative([...always, ...args]);
  assert.equal(code, 0, stderr);
  const found = stdout.split('\n').filter((each) => each.startsWith('match: '));
  assert.match(found[0]!, /same\.png {2}rank 1 {2}distance -?0\.0000$/);
  assert.match(found[1]!, /\.png {2}rank 2 {2}distance 0\.\d{4}$/);
  const { width, height } = await sharp(out).metadata();
  assert.ok(width > 1000 && height > 1500);
});

test('best right and best wrong image: of a list, and of features with the identity said', async () => {
  const list = join(folder, 'list.tsv');
  const lines = [
    [pictures.query, 'red', 'c1'],
    [pictures.same, 'green', 'c1'],
    [pictures.right, 'red', 'c2'],
    [pictures.other, 'green', 'c2'],
  ];
  writeFileSync(list, lines.map((words) => words.join('\t')).join('\n'));
  const out = join(folder, 'judged.svg');
  const one = await commandLine.run([...always, '--query', '1/query.png', '--list', list, '--out', out]);
  assert.equal(one.code, 0, one.stderr);
  assert.match(line(one.stdout, 'query: '), /query\.png {2}id red, camera c1$/);
  assert.match(
    line(one.stdout, 'best right: '),
    /right\.png {2}rank \d {2}distance 0\.\d{4} {2}id red, camera c2$/,
  );
  assert.match(
    line(one.stdout, 'best wrong: '),
    /same\.png {2}rank 1 {2}distance -?0\.0000 {2}id green, camera c1$/,
  );
  const svg = readFileSync(out, 'utf8');
  for (const text of ['>best right<', '>best wrong<', '>id red, camera c2<', '>rank 1, distance']) {
    assert.ok(svg.includes(text), text);
  }

  // The same from features of the list, for a picture that is not among them.
  const features = join(folder, 'features.safetensors');
  const embed = await commandLine.run(['embed', ...always.slice(1), '--list', list, '--out', features]);
  assert.equal(embed.code, 0, embed.stderr);
  const fresh = join(folder, 'fresh.png');
  cpSync(pictures.query!, fresh);
  const two = await commandLine.run([
    ...always,
    ...['--query', fresh, '--index', features, '--identity', 'green', '--out', out],
  ]);
  assert.equal(two.code, 0, two.stderr);
  assert.match(line(two.stdout, 'best right: '), /same\.png {2}rank [12] {2}distance -?0\.0000 {2}id green/);
  assert.match(
    line(two.stdout, 'best wrong: '),
    /1\/query\.png {2}rank [12] {2}distance -?0\.0000 {2}id red/,
  );
});

test('a data set, that of the configuration by default: queries by the end of their path', async () => {
  const out = join(folder, 'set.png');
  const args = ['--query', '0003_c1s1_000001_01.jpg', '--out', out];
  const { code, stdout, stderr } = await commandLine.run([...always, ...args]);
  assert.equal(code, 0, stderr);
  assert.match(line(stdout, 'query: '), /query\/0003_c1s1_000001_01\.jpg {2}id 3, camera 0$/);
  assert.match(line(stdout, 'best right: '), /bounding_box_test\/0003_c[234]s1_.*id 3, camera [123]$/);
  assert.match(
    line(stdout, 'best wrong: '),
    /bounding_box_test\/000[12456]_c[234]s1_.*id [12456], camera [123]$/,
  );
  assert.ok(existsSync(out));
});

test('a model with embeddings of cameras: images of a data set have theirs, as in its features', async () => {
  const home = join(folder, 'cameras');
  const cfg = tinyConfig(home, [...COLOUR, 'MODEL.WEIGHTS', join(home, 'weights.pth')]);
  const network = buildModel(cfg, () => undefined);
  torch.noGrad(() => network.stateDict().get('backbone.sie_embed')!.normal_());
  await new Checkpointer(network, home).save('weights');
  writeFileSync(join(home, 'config.yaml'), cfg.dump());
  const model = ['--config-file', join(home, 'config.yaml')];
  model.push('--import', join(repoRoot, 'dist/test/engine/colour.js'));
  const features = join(home, 'features.safetensors');
  const embed = await commandLine.run(['embed', ...model, '--dataset', 'EmojiReID', '--out', features]);
  assert.equal(embed.code, 0, embed.stderr);
  const explain = ['explain', ...model, '--query', '0003_c1s1_000001_01.jpg', '--out', join(home, 'e.svg')];
  const { code, stdout, stderr } = await commandLine.run(explain);
  assert.equal(code, 0, stderr);
  const embedded = loadFeatures(features);
  for (const verdict of ['best right: ', 'best wrong: ']) {
    const [, path, said] = /: (.*?) {2}rank \d+ {2}distance (\S+)/.exec(line(stdout, verdict))!;
    const [query, match] = [2, embedded.paths.indexOf(path!)].map((row) => embedded.features.select(0, row));
    const similarity = torch.cosine_similarity(query!, match!, { dim: 0 }).item();
    assert.ok(Math.abs(1 - Number(similarity) - Number(said)) < 1e-4, `${path}: ${said}`);
  }
  const indexed = await commandLine.run([...explain, '--index', features]);
  assert.equal(indexed.code, 2);
  assert.match(indexed.stderr, /SIE_CAMERAS is set, and features do not say with which .* by --dataset/);
});

test('mistakes are named, and nothing is written', async () => {
  const none = join(folder, 'none.png');
  const attempt = async (args: string[], exit: number, message: RegExp): Promise<void> => {
    const run = await commandLine.run([...always, ...args]);
    assert.match(run.stderr, message);
    assert.equal(run.code, exit);
  };
  const query = ['--query', pictures.query!];
  const gallery = ['--gallery', join(folder, 'gallery')];
  await attempt([...query, ...gallery, '--out', 'x.jpg'], 2, /must end in \.png or \.svg/);
  await attempt([...query, '--gallery', pictures.query!, '--out', none], 2, /no image besides the query/);
  await attempt(
    [...query, ...gallery, '--index', 'x.safetensors', '--out', none],
    2,
    /give one of --dataset/,
  );
  await attempt(
    [...query, ...gallery, '--identity', '3', '--out', none],
    2,
    /identities of the gallery are known/,
  );
  await attempt(
    ['--query', 'x.png', ...gallery, '--out', none],
    2,
    /no such file, and no image is called so/,
  );
  await attempt(['--query', '.png', ...gallery, '--out', none], 2, /no such file, and 4 images end so/);
  await attempt(
    [...query, ...gallery, '--out', none, '--layer', 'heads'],
    1,
    /'heads' gives \[2, 512\], not maps/,
  );
  const foreign = join(folder, 'foreign.safetensors');
  const features = torch.randn([2, 512]);
  const paths = JSON.stringify([pictures.same, pictures.other]);
  torch.saveSafetensors(new Map([['features', features]]), foreign, { paths });
  await attempt([...query, '--index', foreign, '--out', none], 1, /by this model: it was made by another/);
  assert.ok(!existsSync(none));
});
