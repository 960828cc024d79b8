import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { forEachDistanceBlock, type Metric, parseMetric } from './distance.js';
import { RankAccumulator, type RankResult } from './rank.js';
import type { Results } from './results.js';

/** Identities and cameras of a batch, in the order of its images. */
export interface Labels {
  pids: ArrayLike<number>;
  camids: ArrayLike<number>;
}

/** Collects a model's outputs over a test set, then says how good they are. */
export interface DatasetEvaluator {
  /** Forgets what was collected. */
  reset(): void;
  /** @param features [batch, dim]; the evaluator copies what it keeps */
  process(features: Tensor, labels: Labels): void;
  evaluate(): Results | Promise<Results>;
}

export interface ReidEvaluatorOptions {
  /** `cosine` (default) or `euclidean`. */
  metric?: string;
  /** Ranks to report. Default 1, 5, 10. */
  ranks?: readonly number[];
}

/**
 * Evaluates a re-identification test set: the first `numQuery` images are queries, the rest is the gallery.
 *
 * Results, in this order, in percent: `Rank-1`, `Rank-5`, `Rank-10`, `mAP`, `mINP`, and `metric`, the mean of mAP
 * and Rank-1, by which the best checkpoint is chosen.
 */
export class ReidEvaluator implements DatasetEvaluator {
  private readonly numQuery: number;
  private readonly metric: Metric;
  private readonly ranks: readonly number[];
  private features: Tensor[] = [];
  private pids: number[] = [];
  private camids: number[] = [];
  /** CMC curve and measures of each query, of the last `evaluate`. */
  lastRanking: RankResult | undefined;

  constructor(numQuery: number, { metric = 'cosine', ranks = [1, 5, 10] }: ReidEvaluatorOptions = {}) {
    this.numQuery = numQuery;
    this.metric = parseMetric(metric);
    this.ranks = ranks;
  }

  reset(): void {
    for (const f of this.features) f.dispose();
    this.features = [];
    this.pids = [];
    this.camids = [];
  }

  process(features: Tensor, labels: Labels): void {
    const n = features.shape[0];
    if (labels.pids.length !== n || labels.camids.length !== n) {
      const counts = `${labels.pids.length} identities and ${labels.camids.length} cameras`;
      throw new Error(`ReidEvaluator: ${n} features but ${counts}`);
    }
    this.features.push(
      torch.scope(() => features.detach().to({ device: 'cpu', dtype: torch.float32, copy: true }).keep()),
    );
    this.pids.push(...Array.from(labels.pids));
    this.camids.push(...Array.from(labels.camids));
  }

  async evaluate(): Promise<Results> {
    const total = this.pids.length;
    const { numQuery } = this;
    if (numQuery < 1 || numQuery >= total) {
      throw new Error(
        `evaluation needs query and gallery images; got ${numQuery} queries among ${total} images`,
      );
    }
    const ranks = new RankAccumulator(this.pids.slice(numQuery), this.camids.slice(numQuery));
    torch.scope(() => {
      const all = torch.cat(this.features, 0);
      const query = all.narrow(0, 0, numQuery);
      const gallery = all.narrow(0, numQuery, total - numQuery);
      forEachDistanceBlock(query, gallery, this.metric, (block, from) => {
        const values = block.toTypedArray() as Float32Array;
        const [rows, m] = block.shape;
        for (let r = 0; r < rows; r++) {
          const q = from + r;
          ranks.add(q, this.pids[q], this.camids[q], values.subarray(r * m, (r + 1) * m));
        }
      });
    });
    const maxRank = Math.max(50, ...this.ranks);
    const ranking = ranks.result({ maxRank });
    this.lastRanking = ranking;
    if (ranking.dropped > 0) {
      logger.warn(
        `${ranking.dropped} of ${numQuery} queries have no gallery image from another camera and are not counted`,
      );
    }
    const results: Results = {};
    for (const r of this.ranks) results[`Rank-${r}`] = ranking.cmc[r - 1] * 100;
    results.mAP = ranking.mAP * 100;
    results.mINP = ranking.mINP * 100;
    results.metric = ((ranking.mAP + ranking.cmc[0]) / 2) * 100;
    return results;
  }
}
