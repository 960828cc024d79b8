import type { Config } from '../config/index.js';
import { ReidEvaluator, type ReidEvaluatorOptions, type TestProtocol } from './reid-evaluator.js';

/** What `TEST` and `COMPAT` ask of an evaluator. */
export function evaluatorOptions({ TEST, COMPAT }: Config): ReidEvaluatorOptions {
  const { AQE, RERANK, RETRIEVAL } = TEST;
  return {
    metric: TEST.METRIC,
    ...(AQE.ENABLED && { aqe: { times: AQE.QE_TIME, k: AQE.QE_K, alpha: AQE.ALPHA } }),
    ...((RERANK.ENABLED || TEST.METRIC === 'jaccard') && {
      rerank: { k1: RERANK.K1, k2: RERANK.K2, lambda: RERANK.LAMBDA },
    }),
    compat: COMPAT === 'fastreid',
    budget: TEST.MEMORY_BUDGET,
    ranks: TEST.RANKS,
    roc: TEST.ROC.ENABLED,
    ...(RETRIEVAL.ENABLED && { recalls: RETRIEVAL.RECALLS }),
    singleShot: TEST.SINGLE_SHOT,
    bootstrap: TEST.BOOTSTRAP,
    cameraPairs: TEST.CAMERA_PAIRS,
  };
}

/** The evaluator that a configuration asks for. */
export function buildReidEvaluator(
  cfg: Config,
  protocol: number | TestProtocol,
  options: Pick<ReidEvaluatorOptions, 'imageName'> = {},
): ReidEvaluator {
  return new ReidEvaluator(protocol, { ...evaluatorOptions(cfg), ...options });
}

/** How results came about, in words: `cosine distance, mirrored images, COMPAT: none`. */
export function evaluationMode({ TEST, COMPAT }: Config): string {
  const { AQE, RERANK } = TEST;
  const jaccard = TEST.METRIC === 'jaccard';
  return [
    jaccard ? `jaccard distance (k1 ${RERANK.K1}, k2 ${RERANK.K2})` : `${TEST.METRIC} distance`,
    TEST.FLIP.ENABLED && 'mirrored images',
    AQE.ENABLED && `query expansion (${AQE.QE_TIME} times, k ${AQE.QE_K}, alpha ${AQE.ALPHA})`,
    RERANK.ENABLED && !jaccard && `re-ranking (k1 ${RERANK.K1}, k2 ${RERANK.K2}, lambda ${RERANK.LAMBDA})`,
    `COMPAT: ${COMPAT || 'none'}`,
  ]
    .filter((part) => part !== false)
    .join(', ');
}
