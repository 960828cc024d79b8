import { bootstrapIntervals, type Interval } from './bootstrap.js';
import type { RankResult } from './rank.js';
import type { Results } from './results.js';
import type { RocAccumulator, RocResult } from './roc.js';

// Measures as results: by the names under which they are printed, in percent.

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** `Rank-k`, `mAP`, `mINP`, `metric`. */
export function rankResults(ranking: RankResult, ranks: readonly number[]): Results {
  const results: Results = {};
  for (const r of ranks) results[`Rank-${r}`] = ranking.cmc[r - 1] * 100;
  results.mAP = ranking.mAP * 100;
  results.mINP = ranking.mINP * 100;
  results.metric = ((ranking.mAP + ranking.cmc[0]) / 2) * 100;
  return results;
}

/** `Rank-k (single shot)`. */
export function singleShotResults(cmc: Float64Array, ranks: readonly number[]): Results {
  return Object.fromEntries(ranks.map((r) => [`Rank-${r} (single shot)`, cmc[r - 1] * 100]));
}

/** `Recall@k`, which is the share of queries with a hit among the first k; `RP` and `mAP@R`. */
export function retrievalResults(ranking: RankResult, recalls: readonly number[]): Results {
  const results: Results = {};
  for (const k of recalls) results[`Recall@${k}`] = ranking.cmc[k - 1] * 100;
  results.RP = mean(ranking.rPrecision) * 100;
  results['mAP@R'] = mean(ranking.apAtR) * 100;
  return results;
}

/** `1e-04`, as Python writes it. */
const pythonRate = (rate: number): string => rate.toExponential(0).replace(/e-(\d)$/, 'e-0$1');

/** `TPR@FPR=…`, `EER`, `AUC`; with `compat` FastReID's three figures alone, as fractions. */
export function rocResults(roc: RocAccumulator, result: RocResult, compat = false): Results {
  const results: Results = {};
  if (compat) {
    const rates = [1e-4, 1e-3, 1e-2];
    roc.compatRates(rates).forEach((tpr, i) => {
      results[`TPR@FPR=${pythonRate(rates[i])}`] = tpr;
    });
    return results;
  }
  for (const { far, tar } of result.points) results[`TPR@FPR=${pythonRate(far)}`] = tar * 100;
  results.EER = result.eer * 100;
  results.AUC = result.auc * 100;
  return results;
}

/** 95 % intervals of the means, in percent. */
export function intervals(
  pids: readonly number[],
  { ap, inp, firstRanks }: RankResult,
  samples: number,
): Record<string, Interval> {
  const percent = (values: readonly number[]): number[] => values.map((x) => x * 100);
  const rank1 = firstRanks.map((rank) => (rank === 1 ? 100 : 0));
  return bootstrapIntervals(pids, { 'Rank-1': rank1, mAP: percent(ap), mINP: percent(inp) }, { samples });
}
