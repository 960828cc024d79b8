import { UNREAD } from '../data/labels.js';
import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { Interval } from './bootstrap.js';
import { type CameraPair, CameraPairs } from './camera-pairs.js';
import { CollectedRows } from './collected-rows.js';
import { forEachRows } from './distance.js';
import { intervals, rankResults, retrievalResults, rocResults, singleShotResults } from './measures.js';
import { checkEvaluatorOptions, type ReidEvaluatorOptions } from './options.js';
import { RankAccumulator, type RankResult } from './rank.js';
import type { Results } from './results.js';
import { type DistanceHistogram, RocAccumulator, type RocResult } from './roc.js';
import { rowsOf } from './rows.js';
import { SingleShot } from './single-shot.js';
import { forEachQueryBlock, forEachQueryPositions } from './trial.js';

/** Identities and cameras of a batch, in the order of its images. */
export interface Labels {
  pids: ArrayLike<number>;
  camids: ArrayLike<number>;
}

/** Collects a model's outputs over a test set, then says how good they are. */
export interface DatasetEvaluator {
  /**
   * Forgets what was collected.
   *
   * @param images how many will be processed, if that is known: their memory need not grow then
   */
  reset(images?: number): void;
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

/** What an evaluation found besides the results, of one trial. */
export interface EvaluationDetails {
  readonly ranking: RankResult;
  readonly roc?: RocResult;
  /** Distances of genuine and impostor pairs, where there is a `roc`. */
  readonly histogram?: DistanceHistogram;
  /** 95 % intervals of `Rank-1`, `mAP` and `mINP`, in percent. */
  readonly confidence?: Record<string, Interval>;
  readonly cameraPairs?: readonly CameraPair[];
}

/**
 * Evaluates a re-identification test set by its protocol. A number instead of a protocol says that the first so many
 * images are queries, the rest is the gallery, and cameras are known.
 *
 * Results, in this order, in percent: `Rank-1`, `Rank-5`, `Rank-10`, `mAP`, `mINP`, and `metric`, the mean of mAP
 * and Rank-1, by which the best checkpoint is chosen. With `roc` there follow `TPR@FPR=1e-06` to `1e-01`, `EER` and
 * `AUC`; with `singleShot`, `Rank-1 (single shot)` and so on; with `recalls`, `Recall@1` and so on, `RP` and `mAP@R`. With `compat` the `TPR@FPR` are FastReID's: three,
 * as fractions, with impostors for genuine pairs. Of several trials results are the means, and the standard
 * deviations over the trials (of a sample, n − 1) follow as `Rank-1_std` and so on.
 */
export class ReidEvaluator implements DatasetEvaluator {
  private readonly protocol: number | TestProtocol;
  private readonly options: ReidEvaluatorOptions;
  private readonly ranks: readonly number[];
  private features = new CollectedRows();
  private pids: number[] = [];
  private camids: number[] = [];
  /** What the last `evaluate` found in each trial. */
  lastDetails: readonly EvaluationDetails[] = [];

  constructor(protocol: number | TestProtocol, options: ReidEvaluatorOptions = {}) {
    this.protocol = protocol;
    this.options = options;
    this.ranks = options.ranks ?? [1, 5, 10];
    checkEvaluatorOptions(options);
  }

  /** CMC curve and measures of each query, of the last `evaluate` (of its last trial). */
  get lastRanking(): RankResult | undefined {
    return this.lastDetails.at(-1)?.ranking;
  }

  reset(images?: number): void {
    this.features.dispose();
    this.features = new CollectedRows(images);
    this.pids = [];
    this.camids = [];
  }

  /** Features stay on their device, as float32. Throws, naming the image, when one is not finite. */
  process(features: Tensor, labels: Labels): void {
    const n = features.shape[0];
    if (labels.pids.length !== n || labels.camids.length !== n) {
      const counts = `${labels.pids.length} identities and ${labels.camids.length} cameras`;
      throw new Error(`ReidEvaluator: ${n} features but ${counts}`);
    }
    torch.scope(() => {
      const plain = features.detach().to(torch.float32);
      this.checkFinite(plain);
      this.features.add(plain);
    });
    for (let i = 0; i < n; i++) {
      this.pids.push(labels.pids[i]);
      this.camids.push(labels.camids[i]);
    }
  }

  private checkFinite(features: Tensor): void {
    // The sum of a row with NaN or infinity is neither finite, and needs no second matrix.
    const bad = features.sum([1], false, { dtype: torch.float64 }).isfinite().logical_not();
    if (bad.any().item() === false) return;
    const at = this.pids.length + Number(bad.int().argmax().item());
    const name = this.options.imageName?.(at) ?? `number ${at}`;
    throw new Error(
      `evaluation: the feature of image ${name} is not finite (NaN or infinite values); look at the image, and at ` +
        'the weights, which may come from a training that diverged',
    );
  }

  async evaluate(): Promise<Results> {
    const { trials, cameras } = this.withoutUnread(this.checkedProtocol());
    // An image that is its own camera shares it with itself alone.
    const camids = cameras ? this.camids : this.camids.map((_, i) => i);
    const details: EvaluationDetails[] = [];
    const perTrial = trials.map((trial) => {
      const { results, ...found } = torch.scope(() =>
        this.evaluateTrial(this.features.all(), trial, camids, cameras),
      );
      details.push(found);
      return results;
    });
    this.lastDetails = details;
    return averageTrials(perTrial);
  }

  /** @param all features of all images; `camids` their cameras */
  private evaluateTrial(
    all: Tensor,
    { query, gallery }: TestProtocol['trials'][number],
    camids: readonly number[],
    cameras: boolean,
  ): EvaluationDetails & { results: Results } {
    const { pids, options } = this;
    const labels = [gallery.map((i) => pids[i]), gallery.map((i) => camids[i])] as const;
    const ranks = new RankAccumulator(...labels);
    const roc = options.roc ? new RocAccumulator(...labels) : undefined;
    const single = options.singleShot ? new SingleShot(...labels, Math.max(...this.ranks)) : undefined;
    const pairs = options.cameraPairs && cameras ? new CameraPairs(...labels) : undefined;
    const rowwise = roc !== undefined || single !== undefined || pairs !== undefined;
    const addRow = (q: number, distances: Float32Array): void => {
      const [pid, camid] = [pids[query[q]], camids[query[q]]];
      roc?.add(pid, camid, distances);
      single?.add(pid, camid, distances);
      pairs?.add(q, pid, camid, distances);
    };
    const images = rowsOf(all, [...query, ...gallery]);
    const labelsOf = (first: number, rows: number): [number[], number[]] => {
      const own = query.slice(first, first + rows);
      return [own.map((i) => pids[i]), own.map((i) => camids[i])];
    };
    if (rowwise) {
      forEachQueryBlock(images, query.length, options, (block, first) => {
        ranks.addRows(first, ...labelsOf(first, block.shape[0]), block);
        forEachRows(block, (values, from) => {
          const m = gallery.length;
          for (let r = 0; r * m < values.length; r++)
            addRow(first + from + r, values.subarray(r * m, (r + 1) * m));
        });
      });
    } else {
      forEachQueryPositions(images, query.length, options, (positionsOf, first, rows) => {
        ranks.addQueries(first, ...labelsOf(first, rows), positionsOf);
      });
    }
    const ranking = ranks.result({ maxRank: Math.max(50, ...this.ranks, ...(options.recalls ?? [])) });
    if (ranking.dropped > 0) {
      logger.warn(
        `${ranking.dropped} of ${query.length} queries have no gallery image from another camera and are not counted`,
      );
    }
    const rocResult = roc?.result();
    const confidence = options.bootstrap
      ? intervals(
          ranking.counted.map((q) => pids[query[q]]),
          ranking,
          options.bootstrap,
        )
      : undefined;
    return {
      results: {
        ...rankResults(ranking, this.ranks),
        ...(single && singleShotResults(single.result(), this.ranks)),
        ...(options.recalls && retrievalResults(ranking, options.recalls)),
        ...(roc && rocResult && rocResults(roc, rocResult, options.compat)),
      },
      ranking,
      ...(roc && { roc: rocResult, histogram: roc.histogram() }),
      ...(confidence && { confidence }),
      ...(pairs && { cameraPairs: pairs.result(options.cameraName) }),
    };
  }

  private withoutUnread(protocol: TestProtocol): TestProtocol {
    const unread = this.pids.filter((pid) => pid === UNREAD).length;
    if (unread === 0) return protocol;
    logger.warn(`${unread} of ${this.pids.length} images could not be read and are not evaluated`);
    const readable = (images: readonly number[], what: string): number[] => {
      const left = images.filter((i) => this.pids[i] !== UNREAD);
      if (left.length > 0) return left;
      throw new Error(`evaluation: none of the ${images.length} ${what} images could be read`);
    };
    const trials = protocol.trials.map(({ query, gallery }) => ({
      query: readable(query, 'query'),
      gallery: readable(gallery, 'gallery'),
    }));
    return { ...protocol, trials };
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
