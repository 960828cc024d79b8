import { existsSync, statSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { Config } from '../config/index.js';
import type { Order, RankList, TestData } from '../retrieval/index.js';
import { UsageError } from './errors.js';
import { importExtensions } from './extensions.js';
import { chooseImages } from './images.js';
import { positive } from './numbers.js';
import { loadConfig } from './overrides.js';
import { addPredictorOptions, embedImages, type PredictorFlags, predictorConfig } from './predictor.js';
import { checkRanking, loadTest, settleFlip } from './ranking.js';

interface VisualizeFlags extends PredictorFlags {
  features?: string;
  query?: string;
  dataset?: string;
  trial: number;
  out: string;
  metric?: string;
  sort: Order;
  top: number;
  num: number;
  queries?: string[];
}

const EXAMPLES = `
  reid-native visualize --features market.safetensors --out seen/
  reid-native visualize --features market.safetensors --out seen/ --set TEST.RERANK.ENABLED=True
  reid-native visualize --config-file F.yml --weights W.pth --out seen/ --sort mistakes --num 50

Images are ranked as TEST says, with query expansion or re-ranking where they are enabled. Writes report.html, which
needs no other file and no network, its charts as cmc.png, roc.png and distances.png, and a PNG file for each rank list
in lists/: the query in blue, then the nearest gallery images, right ones green, wrong ones red.`;

export function visualizeCommand(): Command {
  const command = new Command('visualize')
    .description('Draws what a model gets right and wrong: rank lists, ROC and CMC curves, distances.')
    .usage('(--features FILE | --config-file FILE) --out FOLDER [options]')
    .requiredOption('--out <folder>', 'folder to write to')
    .option('--features <file>', 'features of a test set or of a gallery, as embed writes them')
    .option('--query <file>', 'features of the queries')
    .option('--dataset <name>', 'data set to embed (default: the first of DATASETS.TESTS)')
    .option('--trial <n>', 'which trial of a data set with several, from 1', positive, 1)
    .option('--metric <name>', 'cosine, euclidean or jaccard (default: TEST.METRIC)')
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
  const { features, out, trial } = flags;
  if (features === undefined && flags.configFile === undefined) {
    throw new UsageError('give --features FILE, or --config-file FILE of the model that is to make them');
  }
  if (flags.query !== undefined && features === undefined) throw new UsageError('--query needs --features');
  if (flags.dataset !== undefined && features !== undefined) {
    throw new UsageError('--dataset is to be embedded, --features are there already: give one');
  }
  if (existsSync(out) && !statSync(out).isDirectory()) {
    throw new UsageError(`--out ${out} is a file; a folder is needed`);
  }
  const cfg =
    features === undefined
      ? await predictorConfig('visualize', flags)
      : await loadConfig(flags.configFile, flags.set ?? []);
  if (flags.metric !== undefined) cfg.TEST.METRIC = flags.metric;
  await checkRanking(cfg);
  const { data, name } =
    features === undefined
      ? await embedTest(cfg, flags)
      : { data: await loadTest(features, flags.query), name: features };
  settleFlip(cfg, data);
  const trials = data.protocol.trials.length;
  if (trial > trials) throw new UsageError(`--trial ${trial}: ${name} has ${trials}`);
  const { evaluationMode, evaluatorOptions } = await import('../evaluation/index.js');
  const { rankLists, writeFindings } = await import('../retrieval/index.js');
  const findings = rankLists(data, { ...evaluatorOptions(cfg), top: flags.top, trial: trial - 1 });
  const lists = await chooseLists(flags, data, findings.lists);
  const mode = evaluationMode(cfg);
  const title = trials > 1 ? `${name}, trial ${trial} of ${trials}` : name;
  const report = await writeFindings(out, data, findings, lists, { title, mode });
  const { mAP, cmc } = findings.ranking;
  const measures = `Rank-1 ${(cmc[0] * 100).toFixed(2)}, mAP ${(mAP * 100).toFixed(2)}`;
  process.stdout.write(
    `${title}, ${mode}:\n${measures}; ${lists.length} rank lists drawn\nOpen ${report} in a browser.\n`,
  );
}

async function embedTest(cfg: Config, flags: VisualizeFlags): Promise<{ data: TestData; name: string }> {
  await importExtensions(flags.import);
  const dataset = flags.dataset ?? (cfg.DATASETS.TESTS as readonly string[])[0];
  if (dataset === undefined) throw new UsageError('visualize needs a test set: give --dataset NAME');
  const images = await chooseImages(cfg, [], { dataset, split: 'test' });
  const { makeTest } = await import('../retrieval/index.js');
  const set = await embedImages(cfg, images, flags);
  return { data: makeTest(set), name: `${dataset} by ${cfg.MODEL.WEIGHTS}` };
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
