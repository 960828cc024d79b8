import type { EvaluationDetails } from './reid-evaluator.js';
import { pipeTable } from './results.js';

/**
 * Confidence intervals and pairs of cameras, of the first trial, as text that ends with a line end; empty where there
 * is neither.
 */
export function detailsText(details: readonly EvaluationDetails[]): string {
  const { confidence, cameraPairs } = details[0] ?? {};
  const of = details.length > 1 ? `, trial 1 of ${details.length}` : '';
  let text = '';
  if (confidence !== undefined) {
    const intervals = Object.entries(confidence).map(
      ([name, [low, high]]) => `${name} ${low.toFixed(2)} to ${high.toFixed(2)}`,
    );
    text += `95 % confidence${of}: ${intervals.join(', ')}\n`;
  }
  if (cameraPairs !== undefined) {
    const rows = cameraPairs.map(({ query, gallery, queries, rank1, mAP }) => [
      String(query),
      String(gallery),
      String(queries),
      (rank1 * 100).toFixed(2),
      (mAP * 100).toFixed(2),
    ]);
    const head = ['Query camera', 'Gallery camera', 'Queries', 'Rank-1', 'mAP'];
    text += `Pairs of cameras${of}:\n${pipeTable([head, ...rows])}\n`;
  }
  return text;
}
