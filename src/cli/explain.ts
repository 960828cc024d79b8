import { existsSync } from 'node:fs';
import { basename, extname, resolve } from 'node:path';
import { Command } from 'commander';
import type { Config } from '../config/index.js';
import type { Label } from '../data/labels.js';
import type { DefaultPredictor, ExplainedMatch } from '../engine/index.js';
import type { FeatureSet, Match } from '../retrieval/index.js';
import type { Tensor } from '../torch/index.js';
import { UsageError } from './errors.js';
import { importExtensions } from './extensions.js';
import { chooseImages, type ImageSet } from './images.js';
import { positive } from './numbers.js';
import { addPredictorOptions, type PredictorFlags, predictorConfig, reporter } from './predictor.js';

interface ExplainFlags extends PredictorFlags {
  query: string;
  gallery?: string[];
  list?: string;
  dataset?: string;
  index?: string;
  identity?: string;
  layer: string;
  top: number;
  out: string;
}

/** What the query is looked up in, with features where a file has them. */
type Gallery = ImageSet & Partial<FeatureSet>;

/** The query and the images that it is compared with; the first of each is the query's. */
interface Comparison {
  /** Rows of the gallery; undefined for a query that is not of it. */
  rows: (number | undefined)[];
  paths: string[];
  identities: (Label | undefined)[];
  cameras: (Label | undefined)[];
  /** As {@link ImageSet} has them, negative where not known. */
  trainingCameras?: number[];
  /** Whether it is known which images are right. */
  judged: boolean;
}

const EXAMPLES = `
  reid-native explain --config-file logs/demo/emoji_r18/config.yaml --weights logs/demo/emoji_r18/model_final.pth \\
      --query query/0005_c1s1_000001_01.jpg --out explained.png
  reid-native explain --config-file F.yml --weights W.pth --query a.jpg --gallery folder --top 3 --out explained.png
  reid-native explain --config-file F.yml --weights W.pth --query a.jpg --index gallery.safetensors --identity 7 --out e.png

Where identities are known (of data sets, lists, and features of them), the picture has the query's best right and best
wrong gallery image, else the most similar ones: each as it is, where the layer is active, and what of it and of the
query raises their similarity (the cosine of their features; distances are 1 less it). The query is an image file, or the
end of the path of an image that is looked up; --identity says whose it is where that is not known. --layer names a
module that gives maps: a deeper one tells what was decisive, a shallower one, such as backbone.layer3, is finer.`;

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('Shows where a query and its best right and wrong matches agree, as a picture.')
    .usage('--query IMAGE --out FILE --config-file FILE [options]')
    .requiredOption('--query <image>', 'the image to explain')
    .requiredOption('--out <file>', 'picture to write, .png or .svg')
    .option('--dataset <name>', 'look it up in a data set (default: the first of DATASETS.TESTS)')
    .option('--gallery <images...>', 'look it up in images, folders or patterns')
    .option('--list <file>', 'look it up in a list: path, identity and camera of an image a line')
    .option('--index <file>', 'look it up in features that embed has written with this model')
    .option('--identity <id>', 'whose the query is')
    .option('--layer <name>', 'layer whose maps are shown', 'backbone')
    .option('--top <n>', 'how many right and wrong ones, or most similar ones', positive, 1);
  return addPredictorOptions(command).addHelpText('after', EXAMPLES).action(run);
}

async function run(flags: ExplainFlags): Promise<void> {
  const { out, layer, top } = flags;
  const format = extname(out).toLowerCase();
  if (format !== '.png' && format !== '.svg')
    throw new UsageError(`--out ${out}: the name must end in .png or .svg`);
  const cfg = await predictorConfig('explain', flags);
  await importExtensions(flags.import);
  const gallery = await readGallery(cfg, flags);
  const { rows, paths, identities, cameras, trainingCameras, judged } = compare(gallery, flags);
  const { assertSupported } = await import('../config/index.js');
  const engine = await import('../engine/index.js');
  const torch = await import('../torch/index.js');
  const { renderPng } = await import('../charts/index.js');
  const { bestMatches, VERDICT_COLOURS } = await import('../retrieval/index.js');
  assertSupported(engine.resolveDevice(cfg));
  const predictor = await engine.DefaultPredictor.create(cfg, flags);
  const features = gallery.features
    ? await indexedFeatures(predictor, gallery.features, rows, paths[0], flags)
    : await predictor.embed(paths, {
        batchSize: flags.batchSize,
        cameras: trainingCameras,
        onProgress: reporter(),
      });
  const found = bestMatches({ features, identities: judged ? identities : undefined, cameras }, top);
  if (found.length === 0) throw new Error('nothing in the gallery counts for this query');
  const whose = (i: number): string =>
    [labelled('id', identities[i]), labelled('camera', cameras[i])].filter(Boolean).join(', ');
  process.stdout.write(`query: ${[paths[0], whose(0)].filter(Boolean).join('  ')}\n`);
  if (found[0].right === false) {
    process.stdout.write(`no other image of id ${identities[0]} counts: there is no right one\n`);
  }
  const matches: ExplainedMatch[] = [];
  let queryImage: Tensor | undefined;
  for (const match of found) {
    const { row, rank, distance } = match;
    const images = await preparedImages(predictor, [paths[0], paths[row]]);
    queryImage ??= images.select(0, 0);
    const numbers = trainingCameras && [trainingCameras[0], trainingCameras[row]];
    const camids = numbers && torch.tensor(BigInt64Array.from(numbers, BigInt));
    const explanation = engine.explainPair(predictor.model as never, images, layer, camids);
    if (gallery.features) checkSame(flags.index!, paths[row], 1 - distance, explanation.similarity);
    const head = headOf(match, top);
    matches.push({
      image: images.select(0, 1),
      explanation,
      head,
      colour: VERDICT_COLOURS[verdictOf(match)],
      lines: [`rank ${rank}, distance ${distance.toFixed(4)}`, whose(row), basename(paths[row])].filter(
        Boolean,
      ),
    });
    const facts = [`rank ${rank}`, `distance ${distance.toFixed(4)}`, whose(row)].filter(Boolean).join('  ');
    process.stdout.write(`${head}: ${paths[row]}  ${facts}\n`);
  }
  const lines = [whose(0), basename(paths[0])].filter(Boolean);
  const query = { image: queryImage!, head: 'query', colour: VERDICT_COLOURS.query, lines };
  const svg = await engine.explanationPicture(query, matches);
  const { writeAtomicSync } = await import('../torch/serialization/atomic-file.js');
  writeAtomicSync(out, [format === '.svg' ? Buffer.from(svg) : await renderPng(svg)]);
  process.stdout.write(`written to ${out}\n`);
}

const labelled = (what: string, label: Label | undefined): string =>
  label === undefined ? '' : `${what} ${label}`;

const verdictOf = ({ right }: Match): 'right' | 'wrong' | 'unknown' =>
  right === undefined ? 'unknown' : right ? 'right' : 'wrong';

function headOf(match: Match, top: number): string {
  const verdict = verdictOf(match);
  if (verdict === 'unknown') return 'match';
  return top === 1 ? `best ${verdict}` : verdict;
}

async function readGallery(cfg: Config, flags: ExplainFlags): Promise<Gallery> {
  const { gallery, list, dataset, index } = flags;
  const given = [gallery, list, dataset, index].filter((one) => one !== undefined).length;
  if (given > 1) throw new UsageError('give one of --dataset, --gallery, --list and --index');
  if (index !== undefined) {
    const { loadFeatures } = await import('../retrieval/index.js');
    const set = loadFeatures(index);
    if (cfg.MODEL.BACKBONE.SIE_CAMERAS > 0 && set.cameras !== undefined) {
      throw new UsageError(
        `--index ${index}: MODEL.BACKBONE.SIE_CAMERAS is set, and features do not say with which embeddings of ` +
          'cameras they were made: look the query up in their images, by --dataset, --gallery or --list',
      );
    }
    return set;
  }
  const name = given === 0 ? (cfg.DATASETS.TESTS as readonly string[])[0] : dataset;
  if (given === 0 && name === undefined)
    throw new UsageError('explain needs a gallery: give --dataset, --gallery, --list or --index');
  return chooseImages(cfg, gallery ?? [], { list, dataset: name, split: 'test' });
}

/** Finds the query among the images, or takes it as one of its own, and puts it in front of what it is looked up in. */
function compare(gallery: Gallery, { query, identity }: ExplainFlags): Comparison {
  const { paths, identities, cameras, trainingCameras, protocol } = gallery;
  const own = findQuery(paths, query);
  const others = (protocol?.trials[0].gallery ?? paths.map((_, row) => row)).filter((row) => row !== own);
  if (others.length === 0) throw new UsageError('the gallery holds no image besides the query');
  if (identity !== undefined && identities === undefined)
    throw new UsageError('--identity is of use where the identities of the gallery are known');
  // What the command line says is text, and identities may be numbers.
  const said = identities?.find((label) => String(label) === identity) ?? identity;
  const rows = [own, ...others];
  const column = (labels: readonly Label[] | undefined): (Label | undefined)[] =>
    rows.map((row) => (row === undefined ? undefined : labels?.[row]));
  const whose = column(identities);
  whose[0] = said ?? whose[0];
  return {
    rows,
    paths: [own === undefined ? query : paths[own], ...others.map((row) => paths[row])],
    identities: whose,
    cameras: column(protocol?.cameras === false ? undefined : cameras),
    trainingCameras: trainingCameras && rows.map((row) => (row === undefined ? -1 : trainingCameras[row])),
    judged: whose[0] !== undefined,
  };
}

/** Its row; undefined for a file that is not one of the images. */
function findQuery(paths: readonly string[], wanted: string): number | undefined {
  const full = resolve(wanted);
  const same = paths.findIndex((path) => resolve(path) === full);
  if (same >= 0) return same;
  if (existsSync(wanted)) return undefined;
  const ending = paths.flatMap((path, row) => (path.endsWith(wanted) ? [row] : []));
  if (ending.length === 1) return ending[0];
  const problem = ending.length === 0 ? 'no image is called so' : `${ending.length} images end so`;
  throw new UsageError(`--query ${wanted}: there is no such file, and ${problem}`);
}

/** Features of the rows, those of a query that is not in the index computed. */
async function indexedFeatures(
  predictor: DefaultPredictor,
  all: Tensor,
  rows: readonly (number | undefined)[],
  query: string,
  { index }: ExplainFlags,
): Promise<Tensor> {
  const torch = await import('../torch/index.js');
  const at = (wanted: readonly (number | undefined)[]): Tensor =>
    all.index_select(0, torch.tensor(BigInt64Array.from(wanted, (row) => BigInt(row!))));
  if (rows[0] !== undefined) return at(rows);
  const own = await predictor.embed([query]);
  if (own.shape[1] !== all.shape[1]) {
    throw new Error(
      `${index} holds features of ${all.shape[1]} numbers, but this model makes ${own.shape[1]}: it was made by another`,
    );
  }
  return torch.cat([own, at(rows.slice(1))], 0);
}

/** An index may be of other weights, where maps would explain what it does not hold. Mirrored images change a little. */
function checkSame(index: string, path: string, indexed: number, computed: number): void {
  if (Math.abs(indexed - computed) < 0.1) return;
  throw new Error(
    `${index}: the similarity of the query and ${path} is ${indexed.toFixed(4)} by its features, but ` +
      `${computed.toFixed(4)} by this model: it was made by another`,
  );
}

/** Images as the predictor sees them, uint8 [n, 3, h, w]. */
async function preparedImages(predictor: DefaultPredictor, paths: string[]): Promise<Tensor> {
  const { imageBatches } = await import('../engine/index.js');
  const torch = await import('../torch/index.js');
  for await (const { batch } of imageBatches(predictor, paths, { batchSize: paths.length })) {
    return batch.round().to({ dtype: torch.uint8 });
  }
  throw new Error('explain: there are no images');
}
