import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { renderPng } from '../charts/index.js';
import { writeAtomic } from '../torch/serialization/atomic-file.js';
import { numberedName } from './file-names.js';
import type { Findings, RankList } from './rank-lists.js';
import { drawCharts, htmlReport, type ReportOptions, tilesOf, titleOf } from './report.js';
import type { TestData } from './test-data.js';
import { drawTiles } from './tiles.js';

/**
 * Writes `report.html`, its charts as PNG files, and the rank lists as PNG files in `lists/`, in place of those that
 * were there. Returns the report's path.
 */
export async function writeFindings(
  folder: string,
  data: TestData,
  findings: Findings,
  lists: readonly RankList[],
  options: ReportOptions,
): Promise<string> {
  const listFolder = join(folder, 'lists');
  mkdirSync(listFolder, { recursive: true });
  const stale = new Set(readdirSync(listFolder).filter((name) => /^\d+-.*\.png$/.test(name)));
  const pages: Buffer[] = [];
  for await (const text of htmlReport(data, findings, lists, options)) pages.push(Buffer.from(text));
  const report = join(folder, 'report.html');
  await writeAtomic(report, pages);
  for (const [name, svg] of Object.entries(drawCharts(findings))) {
    await writeAtomic(join(folder, `${name}.png`), [await renderPng(svg)]);
  }
  for (const [i, list] of lists.entries()) {
    const file = numberedName(listFolder, i, lists.length, data.paths[list.query]);
    await writeAtomic(file, [await drawTiles(titleOf(data, list), tilesOf(data, list))]);
    stale.delete(file.slice(listFolder.length + 1));
  }
  for (const name of stale) rmSync(join(listFolder, name), { force: true });
  return report;
}
