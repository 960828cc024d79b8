import { Command } from 'commander';
import { loadConfig } from './overrides.js';

interface EvaluateFlags {
  features: string;
  query?: string;
  configFile?: string;
}

const EXAMPLES = `
  reid-native evaluate --features market.safetensors
  reid-native evaluate --features gallery.safetensors --query query.safetensors TEST.METRIC euclidean

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
    .argument('[overrides...]', 'KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(overrides: string[], flags: EvaluateFlags): Promise<void> {
  const cfg = await loadConfig(flags.configFile, overrides);
  const { unsupported } = await import('../config/index.js');
  const refusal = unsupported(cfg).find(({ key }) => key.startsWith('TEST.'));
  if (refusal) throw new Error(refusal.message);
  const torch = await import('../torch/index.js');
  const { ReidEvaluator, resultsTable } = await import('../evaluation/index.js');
  const { loadFeatures, makeTest } = await import('../retrieval/index.js');
  const set = loadFeatures(flags.features);
  const query = flags.query === undefined ? undefined : loadFeatures(flags.query);
  const { features, pids, camids, protocol } = torch.scope(() => makeTest(set, query));
  const evaluator = new ReidEvaluator(protocol, { metric: cfg.TEST.METRIC });
  evaluator.process(features, { pids, camids });
  process.stdout.write(`${resultsTable({ [flags.features]: await evaluator.evaluate() })}\n`);
}
