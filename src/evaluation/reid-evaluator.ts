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

/** Which images of a test set are looked up in which, by their positions in the order of its loader. */
export interface TestProtocol {
  /** One division, or several whose results are averaged. An image may be both query and gallery. */
  readonly trials: readonly { readonly query: readonly number[]; readonly gallery: readonly number[] }[];
  /**
   * Whether cameras are known. If so, gallery images of the query's identity and camera do not count; if not, only
   * the query image itself does not.
   */
  readonly cameras: boolean;
}

export interface ReidEvaluatorOptions {
  /** `cosine` (default) or `euclidean`. */
  metric?: string;
  /** Ranks to report. Default 1, 5, 10. */
  ranks?: readonly number[];
}

/**
 * Evaluates a re-identification test set by its protocol. A number instead of a protocol says that the first so many
 * images are queries, the rest is the gallery, and cameras are known.
 *
 * Results, in this order, in percent: `Rank-1`, `Rank-5`, `Rank-10`, `mAP`, `mINP`, and `metric`, the mean of mAP
 * and Rank-1, by which the best checkpoint is chosen. Of several trials these are the means, and the standard
 * deviations over the trials (of a sample, n − 1) follow as `Rank-1_std` and so on.
 */
export class ReidEvaluator implements DatasetEvaluator {
  private readonly protocol: number | TestProtocol;
  private readonly metric: Metric;
  private readonly ranks: readonly number[];
  private features: Tensor[] = [];
  private pids: number[] = [];
  private camids: number[] = [];
  /** CMC curve and measures of each query, of the last `evaluate` (of its last trial). */
  lastRanking: RankResult | undefined;

  constructor(
    protocol: number | TestProtocol,
    { metric = 'cosine', ranks = [1, 5, 10] }: ReidEvaluatorOptions = {},
  ) {
    this.protocol = protocol;
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
    const { trials, cameras } = this.checkedProtocol();
    // An image that is its own camera shares it with itself alone.
    const camids = cameras ? this.camids : this.camids.map((_, i) => i);
    const perTrial = torch.scope(() => {
      const all = torch.cat(this.features, 0);
      return trials.map((trial) => this.evaluateTrial(all, trial, camids));
    });
    return averageTrials(perTrial);
  }

  /** @param all features of all images; `camids` their cameras */
  private evaluateTrial(
    all: Tensor,
    { query, gallery }: TestProtocol['trials'][number],
    camids: readonly number[],
  ): Results {
    const { pids } = this;
    const ranks = new RankAccumulator(
      gallery.map((i) => pids[i]),
      gallery.map((i) => camids[i]),
    );
    torch.scope(() => {
      forEachDistanceBlock(rowsOf(all, query), rowsOf(all, gallery), this.metric, (block, from) => {
        const values = block.toTypedArray() as Float32Array;
        const [rows, m] = block.shape;
        for (let r = 0; r < rows; r++) {
          const image = query[from + r];
          ranks.add(from + r, pids[image], camids[image], values.subarray(r * m, (r + 1) * m));
        }
      });
    });
    const maxRank = Math.max(50, ...this.ranks);
    const ranking = ranks.result({ maxRank });
    this.lastRanking = ranking;
    if (ranking.dropped > 0) {
      logger.warn(
        `${ranking.dropped} of ${query.length} queries have no gallery image from another camera and are not counted`,
      );
    }
    const results: Results = {};
    for (const r of this.ranks) results[`Rank-${r}`] = ranking.cmc[r - 1] * 100;
    results.mAP = ranking.mAP * 100;
    results.mINP = ranking.mINP * 100;
    results.metric = ((ranking.mAP + ranking.cmc[0]) / 2) * 100;
    return results;
  }

  private checkedProtocol(): TestProtocol {
    const { protocol } = this;
    const total = this.pids.length;
    if (typeof protocol === 'number') {
      if (protocol < 1 || protocol >= total) {
        throw new Error(
          `evaluation needs query and gallery images; got ${protocol} queries among ${total} images`,
        );
      }
      const at = this.pids.map((_, i) => i);
      return { trials: [{ query: at.slice(0, protocol), gallery: at.slice(protocol) }], cameras: true };
    }
    for (const { query, gallery } of protocol.trials) {
      if (query.length === 0 || gallery.length === 0) {
        throw new Error(
          `evaluation needs query and gallery images; got ${query.length} and ${gallery.length}`,
        );
      }
      const lost = [...query, ...gallery].find((i) => i >= total);
      if (lost !== undefined) {
        throw new Error(`evaluation: the protocol asks for image ${lost}, but ${total} were processed`);
      }
    }
    return protocol;
  }
}

/** Rows of a matrix in the given order; a view where they are a contiguous piece. */
function rowsOf(all: Tensor, indices: readonly number[]): Tensor {
  const [first] = indices;
  if (indices.every((row, i) => row === first + i)) return all.narrow(0, first, indices.length);
  return all.index_select(0, torch.tensor(BigInt64Array.from(indices, BigInt)));
}

/** Means over trials, and behind them the standard deviations; a single trial's results as they are. */
function averageTrials(trials: readonly Results[]): Results {
  const n = trials.length;
  if (n === 1) return trials[0];
  const means: Results = {};
  const spreads: Results = {};
  for (const name of Object.keys(trials[0])) {
    const mean = trials.reduce((sum, one) => sum + one[name], 0) / n;
    means[name] = mean;
    spreads[`${name}_std`] = Math.sqrt(
      trials.reduce((sum, one) => sum + (one[name] - mean) ** 2, 0) / (n - 1),
    );
  }
  return { ...means, ...spreads };
}
