import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EvaluationDetails, Results } from '../evaluation/index.js';
import { writeFileAtomic } from './files.js';

/** One test set's evaluation. */
export interface Evaluation {
  readonly results: Results;
  /** One for each trial. */
  readonly details?: readonly EvaluationDetails[];
}

/**
 * Writes `evaluation.csv`, a row for each test set, and `evaluation.json`, which has the details too: the CMC curve,
 * queries without a match, thresholds of the operating points, confidence intervals, pairs of cameras.
 *
 * @param mode how the results came about, in words
 */
export function writeEvaluation(folder: string, mode: string, sets: Record<string, Evaluation>): void {
  mkdirSync(folder, { recursive: true });
  writeFileAtomic(join(folder, 'evaluation.csv'), csv(mode, sets));
  const plain = Object.fromEntries(
    Object.entries(sets).map(([name, { results, details }]) => [
      name,
      { results, ...(details && { trials: details.map(plainDetails) }) },
    ]),
  );
  writeFileAtomic(join(folder, 'evaluation.json'), `${JSON.stringify({ mode, sets: plain }, null, 2)}\n`);
}

function plainDetails({ ranking, roc, confidence, cameraPairs }: EvaluationDetails): object {
  return {
    queries: ranking.counted.length,
    queriesWithoutMatch: ranking.dropped,
    cmc: [...ranking.cmc],
    ...(roc && {
      roc: {
        genuine: roc.genuine,
        impostor: roc.impostor,
        points: roc.points,
        eer: roc.eer,
        eerThreshold: roc.eerThreshold,
        auc: roc.auc,
      },
    }),
    ...(confidence && { confidence95: confidence }),
    ...(cameraPairs && { cameraPairs }),
  };
}

function csv(mode: string, sets: Record<string, Evaluation>): string {
  const columns = [...new Set(Object.values(sets).flatMap(({ results }) => Object.keys(results)))];
  const rows = Object.entries(sets).map(([name, { results }]) => [
    name,
    mode,
    ...columns.map((column) => String(results[column] ?? '')),
  ]);
  return [['Dataset', 'Mode', ...columns], ...rows]
    .map((cells) => `${cells.map(csvCell).join(',')}\n`)
    .join('');
}

/** Quoted where it has to be (RFC 4180). */
function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
