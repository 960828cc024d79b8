import type { Config } from '../config/index.js';
import type { TestData } from '../retrieval/index.js';
import { UsageError } from './errors.js';

/** A test of features that are in files. */
export async function loadTest(features: string, query: string | undefined): Promise<TestData> {
  const torch = await import('../torch/index.js');
  const { loadFeatures, makeTest } = await import('../retrieval/index.js');
  return torch.scope(() =>
    makeTest(loadFeatures(features), query === undefined ? undefined : loadFeatures(query), {
      gallery: features,
      query: query ?? '',
    }),
  );
}

/** Checks that features can be ranked as the configuration says. */
export async function checkRanking(cfg: Config): Promise<void> {
  const { assertSupported } = await import('../config/index.js');
  const { checkEvaluation } = await import('../evaluation/index.js');
  assertSupported(cfg);
  checkEvaluation(cfg);
  const { EVALUATOR } = cfg.TEST;
  if (EVALUATOR === 'ReidEvaluator') return;
  throw new UsageError(`TEST.EVALUATOR is ${EVALUATOR}: features can only be ranked; use train --eval-only`);
}

/** Makes TEST.FLIP say whether features are those of mirrored images too. Throws where they are not, but should be. */
export function settleFlip(cfg: Config, { mirrored }: TestData): void {
  if (cfg.TEST.FLIP.ENABLED && !mirrored) {
    throw new UsageError(
      'TEST.FLIP: these features are not those of mirrored images too, which cannot be made of them; embed with ' +
        '--set TEST.FLIP.ENABLED=True',
    );
  }
  cfg.TEST.FLIP.ENABLED = mirrored;
}
