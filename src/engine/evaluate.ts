import type { Config } from '../config/index.js';
import type { DataLoader } from '../data/index.js';
import {
  type DatasetEvaluator,
  detailsText,
  evaluationMode,
  inferenceOnDataset,
  type NestedResults,
  ReidEvaluator,
  type Results,
  resultsTable,
} from '../evaluation/index.js';
import { logger } from '../logger.js';
import type { MetaArch } from '../modeling/index.js';
import * as torch from '../torch/index.js';
import { type Evaluation, writeEvaluation } from './evaluation-files.js';
import { mirrorOf } from './mirror.js';
import { isMainProcess } from './parallel.js';
import { ShardedEvaluator } from './sharded-evaluator.js';

/** The images of a test set, and what makes results of their features. */
export interface TestSet {
  loader: DataLoader;
  evaluator: DatasetEvaluator;
}

/**
 * Evaluates a model on each of DATASETS.TESTS, prints the table of results, and writes them to `evaluation.csv` and
 * `evaluation.json` in OUTPUT_DIR. Of several processes each takes a part of the images, and all get the results.
 *
 * @param open called for each test set in turn; its loader is closed after use
 * @returns results of the one test set, or of several by name
 */
export async function evaluateOnTests(
  cfg: Config,
  model: MetaArch,
  open: (name: string) => TestSet,
): Promise<NestedResults> {
  const all: Record<string, Results> = {};
  const evaluations: Record<string, Evaluation> = {};
  const mirror = mirrorOf(cfg, model);
  for (const name of cfg.DATASETS.TESTS) {
    logger.info('Prepare testing set');
    const { loader, evaluator } = open(name);
    try {
      const sizes = { images: loader.dataset.length, batches: loader.length };
      const whole = torch.distributed.getWorldSize() > 1 ? new ShardedEvaluator(evaluator) : evaluator;
      all[name] = await inferenceOnDataset(model, loader, whole, { ...sizes, mirror });
      const details = evaluator instanceof ReidEvaluator ? evaluator.lastDetails : undefined;
      evaluations[name] = { results: all[name], details };
    } finally {
      await loader.close();
    }
  }
  const names = Object.keys(all);
  if (names.length === 0) throw new Error('DATASETS.TESTS is empty: there is nothing to evaluate on');
  const mode = evaluationMode(cfg);
  logger.info(`Evaluation results (${mode}):\n${resultsTable(all)}`);
  for (const [name, { details }] of Object.entries(evaluations)) {
    const more = details && detailsText(details);
    if (more) logger.info(`${name}: ${more.trimEnd()}`);
  }
  if (isMainProcess() && cfg.OUTPUT_DIR !== '') writeEvaluation(cfg.OUTPUT_DIR, mode, evaluations);
  return names.length === 1 ? all[names[0]] : all;
}
