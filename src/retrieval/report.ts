import { escapeText, histogramChart, lineChart } from '../charts/index.js';
import type { RocResult } from '../evaluation/index.js';
import type { Findings, RankList } from './rank-lists.js';
import type { TestData } from './test-data.js';
import { type Tile, thumbnail, tileSize, VERDICT_COLOURS } from './tiles.js';

export interface ReportOptions {
  title: string;
  /** How the ranking came about, in words. */
  mode: string;
}

/** The charts of a report, as SVG, by the names of their files. */
export function drawCharts({ ranking, pairs, distance }: Findings): Record<string, string> {
  const ranks = Array.from(ranking.cmc, (_, i) => i + 1);
  const cmc = lineChart({
    ...SIZE,
    title: 'Cumulative matching characteristic',
    series: [{ name: 'queries found', x: ranks, y: ranking.cmc }],
    x: { label: 'rank', domain: [1, ranks.length] },
    y: { label: 'share of queries', domain: [0, 1] },
  });
  if (pairs === undefined) return { cmc };
  const { roc, histogram } = pairs;
  return {
    cmc,
    roc: lineChart({
      ...SIZE,
      title: 'Receiver operating characteristic',
      series: [{ name: `AUC ${roc.auc.toFixed(4)}, EER ${(roc.eer * 100).toFixed(2)} %`, ...steps(roc) }],
      x: { label: 'false accept rate', log: true, domain: [1e-6, 1] },
      y: { label: 'true accept rate', domain: [0, 1] },
    }),
    distances: histogramChart({
      ...SIZE,
      title: 'Distances of pairs',
      edges: histogram.edges,
      series: [
        { name: 'genuine', counts: histogram.genuine, colour: VERDICT_COLOURS.right },
        { name: 'impostor', counts: histogram.impostor, colour: VERDICT_COLOURS.wrong },
      ],
      x: { label: distance },
      y: { label: 'share of pairs' },
    }),
  };
}

/** The curve as far as it is drawn: from the left border on, in steps, as between two points there are no pairs. */
function steps({ curve }: RocResult): { x: number[]; y: number[] } {
  const x: number[] = [];
  const y: number[] = [];
  // Without a single impostor accepted, the rate is below what these pairs can tell.
  const least = 1e-6;
  let before = 0;
  for (let i = 0; i < curve.far.length; i++) {
    const far = Math.max(least, curve.far[i]);
    x.push(far, far);
    y.push(before, curve.tar[i]);
    before = curve.tar[i];
  }
  x.push(1);
  y.push(before);
  return { x, y };
}

/** The images of a rank list, the query first, with what stands below each. */
export function tilesOf(data: TestData, { query, nearest }: RankList): Tile[] {
  const camera = (row: number): string[] => (data.cameras ? [`camera ${data.cameras[row]}`] : []);
  return [
    { path: data.paths[query], lines: [`id ${data.identities[query]}`, ...camera(query)], verdict: 'query' },
    ...nearest.map(({ row, distance, right }): Tile => {
      const lines = [
        `${right ? '✓' : '✗'} ${distance.toFixed(4)}`,
        ...camera(row),
        `id ${data.identities[row]}`,
      ];
      return { path: data.paths[row], lines, verdict: right ? 'right' : 'wrong' };
    }),
  ];
}

/** How a rank list is called: the query's file and how well it went. */
export function titleOf(data: TestData, { query, ap }: RankList): string {
  return `${data.paths[query]} · ${ap === undefined ? 'nothing to be found' : `AP ${(ap * 100).toFixed(1)} %`}`;
}

const SIZE = { width: 560, height: 360 };

// No scripts and nothing from elsewhere: the page is what it is, wherever it is opened.
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

const STYLE = `
body { font: 14px Helvetica, Arial, sans-serif; margin: 24px; color: #222; background: #fff; }
h1 { font-size: 20px; } h2 { font-size: 15px; margin: 24px 0 6px; overflow-wrap: anywhere; }
table { border-collapse: collapse; } td, th { padding: 4px 12px; text-align: right; border-bottom: 1px solid #ddd; }
.charts { display: flex; flex-wrap: wrap; gap: 16px; margin: 16px 0; }
.row { display: flex; gap: 8px; overflow-x: auto; padding-bottom: 6px; }
figure { margin: 0; flex: none; } figcaption { font-size: 12px; line-height: 1.3; max-width: 100%; }
figure img, figure .lost { display: block; border: 4px solid ${VERDICT_COLOURS.unknown}; background: #eee; }
.query img, .query .lost { border-color: ${VERDICT_COLOURS.query}; }
.right img, .right .lost { border-color: ${VERDICT_COLOURS.right}; }
.wrong img, .wrong .lost { border-color: ${VERDICT_COLOURS.wrong}; }`;

/**
 * One HTML page, in pieces: measures, charts and the given rank lists, images included. It needs no other file, no
 * network and no scripts.
 */
export async function* htmlReport(
  data: TestData,
  findings: Findings,
  lists: readonly RankList[],
  { title, mode }: ReportOptions,
): AsyncGenerator<string> {
  const { ranking } = findings;
  const rank = (r: number): string => (ranking.cmc[r - 1] * 100).toFixed(2);
  const measures = {
    'Rank-1': rank(1),
    'Rank-5': rank(5),
    'Rank-10': rank(10),
    mAP: (ranking.mAP * 100).toFixed(2),
    mINP: (ranking.mINP * 100).toFixed(2),
    queries: String(ranking.counted.length),
    'without a match': String(ranking.dropped),
  };
  const cells = (tag: string, texts: string[]): string =>
    `<tr>${texts.map((text) => `<${tag}>${escapeText(text)}</${tag}>`).join('')}</tr>`;
  yield `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width"><title>${escapeText(title)}</title><style>${STYLE}</style></head>
<body><h1>${escapeText(title)}</h1>
<p>${escapeText(mode)}</p>
<table>${cells('th', Object.keys(measures))}${cells('td', Object.values(measures))}</table>
<div class="charts">${Object.values(drawCharts(findings)).join('\n')}</div>
`;
  if (lists.length > 0) {
    const size = await tileSize(data.paths[lists[0].query]);
    for (const list of lists) {
      const figures = await Promise.all(tilesOf(data, list).map((tile) => figure(tile, size)));
      yield `<h2>${escapeText(titleOf(data, list))}</h2>\n<div class="row">${figures.join('\n')}</div>\n`;
    }
  }
  yield '</body></html>\n';
}

async function figure(
  { path, lines, verdict }: Tile,
  size: { width: number; height: number },
): Promise<string> {
  const { width, height } = size;
  const picture = await thumbnail(path, width, height);
  const name = escapeText(path);
  const shown = picture
    ? `<img width="${width}" height="${height}" alt="${name}" title="${name}" src="data:image/jpeg;base64,${picture.toString('base64')}">`
    : `<div class="lost" style="width:${width}px;height:${height}px" title="${name}">cannot be read</div>`;
  const caption = lines.map(escapeText).join('<br>');
  return `<figure class="${verdict}" style="width:${width + 8}px">${shown}<figcaption>${caption}</figcaption></figure>`;
}
