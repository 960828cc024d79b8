import type { Label } from '../data/labels.js';
import { checkDistanceOptions, type DistanceOptions } from './trial.js';

export interface ReidEvaluatorOptions extends DistanceOptions {
  /** Ranks to report (TEST.RANKS). Default 1, 5, 10. */
  ranks?: readonly number[];
  /** Verification figures too (TEST.ROC). */
  roc?: boolean;
  /** Measures of general retrieval too: Recall at these numbers, R-precision and mAP@R (TEST.RETRIEVAL). */
  recalls?: readonly number[];
  /** Draws for confidence intervals over identities (TEST.BOOTSTRAP); 0, the default, for none. */
  bootstrap?: number;
  /** A table of pairs of cameras (TEST.CAMERA_PAIRS). */
  cameraPairs?: boolean;
  /** Also `Rank-k` with one gallery image of each identity (TEST.SINGLE_SHOT). */
  singleShot?: boolean;
  /** What images are called in messages, by their position. */
  imageName?: (index: number) => string;
  /** What cameras are called in `cameraPairs`, by their numbers. Default: by these. */
  cameraName?: (camera: number) => Label;
}

/** Throws a RangeError that names the key of a value that cannot be. */
export function checkEvaluatorOptions(options: ReidEvaluatorOptions): void {
  checkDistanceOptions(options);
  checkRanks('TEST.RANKS', options.ranks);
  checkRanks('TEST.RETRIEVAL.RECALLS', options.recalls);
  const { bootstrap = 0 } = options;
  if (!Number.isInteger(bootstrap) || bootstrap < 0) {
    throw new RangeError(`TEST.BOOTSTRAP must be a number of draws, or 0 for none, got ${bootstrap}`);
  }
}

function checkRanks(key: string, ranks: readonly number[] | undefined): void {
  if (ranks === undefined) return;
  if (ranks.length === 0) throw new RangeError(`${key} is empty: it needs at least one rank to report`);
  const wrong = ranks.find((rank) => !Number.isInteger(rank) || rank < 1);
  if (wrong !== undefined) throw new RangeError(`${key}: ranks are whole numbers from 1 on, got ${wrong}`);
}
