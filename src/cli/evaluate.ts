import { Command } from 'commander';
import { loadConfig } from './overrides.js';
import { checkRanking, loadTest, settleFlip } from './ranking.js';

interface EvaluateFlags {
  features: string;
  query?: string;
  configFile?: string;
  out?: string;
}

const EXAMPLES = `
  reid-native evaluate --features market.safetensors
  reid-native evaluate --features gallery.safetensors --query query.safetensors TEST.RERANK.ENABLED True

Without --query, the file's own protocol says what is looked up in what ('embed --dataset' writes it); without one,
each image is looked up in all others.`;

export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description('Evaluates features that embed has written; the images are not needed.')
    .usage('--features FILE [options] [KEY VALUE …]')
    .passThroughOptions()
    .requiredOption('--features <file>', 'features of the gallery, or of the whole test set')
    .option('--query <file>', 'features of the queries')
    .option('--config-file <file>', 'configuration, in YAML, of which TEST counts')
    .option('--out <folder>', 'folder for evaluation.json and evaluation.csv')
    .argument('[overrides...]', 'KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(overrides: string[], flags: EvaluateFlags): Promise<void> {
  const cfg = await loadConfig(flags.configFile, overrides);
  await checkRanking(cfg);
  const test = await loadTest(flags.features, flags.query);
  settleFlip(cfg, test);
  const { buildReidEvaluator, detailsText, evaluationMode, resultsTable } = await import(
    '../evaluation/index.js'
  );
  const { features, paths, pids, camids, cameras, protocol } = test;
  const evaluator = buildReidEvaluator(cfg, protocol, {
    imageName: (i) => paths[i],
    cameraName: (camera) => cameras?.[camids.indexOf(camera)] ?? camera,
  });
  evaluator.process(features, { pids, camids });
  const results = await evaluator.evaluate();
  const mode = evaluationMode(cfg);
  process.stdout.write(`${mode}:\n${resultsTable({ [flags.features]: results })}\n`);
  process.stdout.write(detailsText(evaluator.lastDetails));
  if (flags.out === undefined) return;
  const { writeEvaluation } = await import('../engine/evaluation-files.js');
  writeEvaluation(flags.out, mode, { [flags.features]: { results, details: evaluator.lastDetails } });
}
