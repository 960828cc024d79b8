import type { Config } from '../config/index.js';
import type { Label } from '../data/labels.js';
import { Registry } from '../registry.js';
import { ClasEvaluator } from './clas-evaluator.js';
import { checkEvaluatorOptions, type ReidEvaluatorOptions } from './options.js';
import { type DatasetEvaluator, ReidEvaluator, type TestProtocol } from './reid-evaluator.js';

/** What an evaluator is told of its test set. */
export interface TestFacts {
  /** Which images are looked up in which, or how many of them, the first, are queries. */
  protocol: number | TestProtocol;
  /** What images are called in messages, by their position. */
  imageName?: (index: number) => string;
  /** What cameras are called, by their numbers. */
  cameraName?: (camera: number) => Label;
}

/** A way of evaluating (TEST.EVALUATOR). */
export interface EvaluatorKind {
  /** Whether it is told the classes of training instead of the test set's own numbers of identities. Default: no. */
  readonly classes?: boolean;
  /** Throws, naming the key, for a setting that cannot be; before anything is trained. */
  check?(cfg: Config): void;
  build(cfg: Config, test: TestFacts): DatasetEvaluator;
  /** How results come about, in words, besides `TEST.FLIP` and `COMPAT`: what is measured, then what improves it. */
  mode(cfg: Config): string[];
}

/** Ways of evaluating, by the names that TEST.EVALUATOR has for them. */
export const EVALUATOR_REGISTRY = new Registry<EvaluatorKind>('evaluator');

EVALUATOR_REGISTRY.register('ReidEvaluator', {
  check: (cfg) => checkEvaluatorOptions(evaluatorOptions(cfg)),
  build: (cfg, { protocol, ...names }) => buildReidEvaluator(cfg, protocol, names),
  mode: ({ TEST }) => {
    const { AQE, RERANK, METRIC } = TEST;
    const jaccard = METRIC === 'jaccard';
    return [
      jaccard ? `jaccard distance (k1 ${RERANK.K1}, k2 ${RERANK.K2})` : `${METRIC} distance`,
      ...(AQE.ENABLED ? [`query expansion (${AQE.QE_TIME} times, k ${AQE.QE_K}, alpha ${AQE.ALPHA})`] : []),
      ...(RERANK.ENABLED && !jaccard
        ? [`re-ranking (k1 ${RERANK.K1}, k2 ${RERANK.K2}, lambda ${RERANK.LAMBDA})`]
        : []),
    ];
  },
});

EVALUATOR_REGISTRY.register('ClasEvaluator', {
  classes: true,
  build: (_cfg, { imageName }) => new ClasEvaluator({ imageName }),
  mode: () => ['classification'],
});

/** The evaluator that TEST.EVALUATOR names. */
export function buildEvaluator(cfg: Config, test: TestFacts): DatasetEvaluator {
  return EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR).build(cfg, test);
}

/** Throws, naming the key, where a configuration cannot be evaluated by. */
export function checkEvaluation(cfg: Config): void {
  EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR).check?.(cfg);
}

/** What `TEST` and `COMPAT` ask of a ReidEvaluator. */
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

/** The ReidEvaluator that a configuration asks for. */
export function buildReidEvaluator(
  cfg: Config,
  protocol: number | TestProtocol,
  options: Pick<ReidEvaluatorOptions, 'imageName' | 'cameraName'> = {},
): ReidEvaluator {
  return new ReidEvaluator(protocol, { ...evaluatorOptions(cfg), ...options });
}

/** How results came about, in words: `cosine distance, mirrored images, COMPAT: none`. */
export function evaluationMode(cfg: Config): string {
  const { TEST, COMPAT } = cfg;
  const [what, ...more] = EVALUATOR_REGISTRY.get(TEST.EVALUATOR).mode(cfg);
  return [
    what,
    ...(TEST.FLIP.ENABLED ? ['mirrored images'] : []),
    ...more,
    `COMPAT: ${COMPAT || 'none'}`,
  ].join(', ');
}
