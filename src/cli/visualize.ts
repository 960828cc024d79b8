import { existsSync, statSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { FeatureSet, Order, RankList, TestData } from '../retrieval/index.js';
import { UsageError } from './errors.js';
import { importExtensions } from './extensions.js';
import { chooseImages } from './images.js';
import { positive } from './numbers.js';
import { addPredictorOptions, embedImages, type PredictorFlags, predictorConfig } from './predictor.js';

interface VisualizeFlags extends PredictorFlags {
  features?: string;
  query?: string;
  dataset?: string;
  out: string;
  metric?: string;
  sort: Order;
  top: number;
  num: number;
  queries?: string[];
}

const EXAMPLES = `
  reid-native visualize --features market.safetensors --out seen/
  reid-native visualize --config-file F.yml --weights W.pth --out seen/ --sort mistakes --num 50

Writes report.html, which needs no other file and no network, its charts as cmc.png, roc.png and distances.png, and a
PNG file for each rank list in lists/: the query in blue, then the nearest gallery images, right ones green, wrong ones red.`;

export function visualizeCommand(): Command {
  const command = new Command('visualize')
    .description('Draws what a model gets right and wrong: rank lists, ROC and CMC curves, distances.')
    .usage('(--features FILE | --config-file FILE) --out FOLDER [options]')
    .requiredOption('--out <folder>', 'folder to write to')
    .option('--features <file>', 'features of a test set or of a gallery, as embed writes them')
    .option('--query <file>', 'features of the queries')
    .option('--dataset <name>', 'data set to embed (default: the first of DATASETS.TESTS)')
    .option('--metric <name>', 'cosine or euclidean (default: TEST.METRIC; of features, cosine)')
    .addOption(
      new Option('--sort <order>', 'lists with the worst AP first, or the best, or confident mistakes alone')
        .choices(['worst', 'best', 'mistakes', 'none'])
        .default('worst'),
    )
    .option('--top <k>', 'gallery images in a list', positive, 10)
    .option('--num <n>', 'lists to draw', positive, 20)
    .option('--queries <paths...>', 'draw the lists of these queries, by their paths or the ends of them');
  return addPredictorOptions(command).addHelpText('after', EXAMPLES).action(run);
}

async function run(flags: VisualizeFlags): Promise<void> {
  if ((flags.features === undefined) === (flags.configFile === undefined)) {
    throw new UsageError(
      'give either --features FILE, or --config-file FILE of the model that is to make them',
    );
  }
  if (flags.query !== undefined && flags.features === undefined)
    throw new UsageError('--query needs --features');
  if (existsSync(flags.out) && !statSync(flags.out).isDirectory()) {
    throw new UsageError(`--out ${flags.out} is a file; a folder is needed`);
  }
  const { parseMetric } = await import('../evaluation/index.js');
  const { makeTest, rankLists } = await import('../retrieval/index.js');
  const torch = await import('../torch/index.js');
  if (flags.metric !== undefined) parseMetric(flags.metric);
  const { set, query, title, metricName } = await readOrEmbed(flags);
  const metric = parseMetric(flags.metric ?? metricName);
  const { data, findings } = torch.scope(() => {
    const data = makeTest(set, query);
    return { data, findings: rankLists(data, metric, flags.top) };
  });
  const lists = await chooseLists(flags, data, findings.lists);
  const { writeFindings } = await import('../retrieval/index.js');
  const report = await writeFindings(flags.out, data, findings, lists, {
    title,
    metric,
  });
  const { mAP, cmc } = findings.ranking;
  const measures = `Rank-1 ${(cmc[0] * 100).toFixed(2)}, mAP ${(mAP * 100).toFixed(2)}`;
  process.stdout.write(`${measures}; ${lists.length} rank lists drawn\nOpen ${report} in a browser.\n`);
}

async function readOrEmbed(
  flags: VisualizeFlags,
): Promise<{ set: FeatureSet; query?: FeatureSet; title: string; metricName: string }> {
  const { loadFeatures } = await import('../retrieval/index.js');
  if (flags.features !== undefined) {
    const query = flags.query === undefined ? undefined : loadFeatures(flags.query);
    return { set: loadFeatures(flags.features), query, title: flags.features, metricName: 'cosine' };
  }
  const cfg = await predictorConfig('visualize', flags);
  await importExtensions(flags.import);
  if (cfg.TEST.METRIC === 'jaccard' && flags.metric === undefined) {
    throw new UsageError(
      'visualize draws plain distances: give --metric cosine or euclidean in place of TEST.METRIC jaccard',
    );
  }
  const dataset = flags.dataset ?? (cfg.DATASETS.TESTS as readonly string[])[0];
  if (dataset === undefined) throw new UsageError('visualize needs a test set: give --dataset NAME');
  const images = await chooseImages(cfg, [], { dataset, split: 'test' });
  const title = `${dataset} by ${cfg.MODEL.WEIGHTS}`;
  return { set: await embedImages(cfg, images, flags), title, metricName: cfg.TEST.METRIC };
}

async function chooseLists(
  { queries, sort, num }: VisualizeFlags,
  data: TestData,
  lists: readonly RankList[],
): Promise<RankList[]> {
  if (queries !== undefined) {
    return queries.map((wanted) => {
      const found = lists.filter(({ query }) => data.paths[query].endsWith(wanted));
      if (found.length === 1) return found[0];
      throw new Error(`--queries ${wanted}: ${found.length} of the ${lists.length} queries are called so`);
    });
  }
  const { sortLists } = await import('../retrieval/index.js');
  return sortLists(lists, sort).slice(0, num);
}
