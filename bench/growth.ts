// node dist/bench/growth.js: how evaluation grows with the gallery, from bench/results/evaluation.json: drawn into
// docs/evaluation-growth.png, and printed as the table of docs/evaluation.md.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { document, element, lineChart, renderPng, type Series } from '../src/charts/index.js';
import { repoRoot } from '../test/support/paths.js';
import type { Result } from './compare.js';
import { CASES } from './evaluation.js';

const file = join(repoRoot, 'bench/results/evaluation.json');
const { figures, machine } = JSON.parse(readFileSync(file, 'utf8')) as Result;

function series(name: string, cases: readonly string[], what: string): Series {
  const y = cases.map((one) => {
    const figure = figures.find((each) => each.name === `${CASES[one].about}: ${what}`);
    if (figure === undefined) {
      throw new Error(`${file} has no case '${one}': npm run bench -- evaluation --save --only ${cases}`);
    }
    return figure.ours;
  });
  return { name, x: cases.map((one) => CASES[one].gallery), y };
}

const ranking = ['10k', '100k', '1M'];
const reranking = ['rerank-10k', 'rerank-100k'];
const both = (what: string): Series[] => [
  series('ranking', ranking, what),
  series('re-ranking', reranking, what),
];
const [queries, dim] = [CASES['1M'].queries, CASES['1M'].dim];
const time = both('processor time');
const sizes = ranking.map((one) => CASES[one].gallery);
const perImage = time[0].y[ranking.length - 1] / sizes[ranking.length - 1];
const x = { label: 'gallery images', log: true };
const charts = [
  lineChart({
    title: 'Processor time',
    series: [
      ...time,
      { name: 'in proportion', x: sizes, y: sizes.map((n) => n * perImage), dash: '5 3', colour: '#999999' },
    ],
    x,
    y: { label: 'seconds', log: true },
    width: 480,
    height: 360,
  }),
  lineChart({
    title: 'Peak memory of the process',
    series: [
      ...both('peak'),
      {
        name: 'features alone',
        x: sizes,
        y: sizes.map((n) => ((queries + n) * dim * 4) / 2 ** 20),
        dash: '5 3',
        colour: '#999999',
      },
    ],
    x,
    y: { label: 'MiB', domain: [0, 1000] },
    width: 480,
    height: 360,
  }),
];
const name = `Time and memory by gallery size: 1,000 queries, 128-d, ${machine}`;
const picture = document(
  960,
  360,
  name,
  charts[0],
  element('g', { transform: 'translate(480 0)' }, charts[1]),
);
writeFileSync(join(repoRoot, 'docs/evaluation-growth.png'), await renderPng(picture));

const show = (value: number): string => value.toLocaleString('en', { maximumSignificantDigits: 3 });
const rows = [...ranking, ...reranking].map((one) => {
  const [wall, processor, peak] = ['time', 'processor time', 'peak'].map((what) =>
    show(series('', [one], what).y[0]),
  );
  const { gallery, rerank } = CASES[one];
  const features = show(((queries + gallery) * dim * 4) / 2 ** 20);
  const what = rerank ? 're-ranking' : 'ranking';
  return `| ${what}, ${show(gallery)} | ${wall} s | ${processor} s | ${features} MiB | ${peak} MiB |`;
});
process.stdout.write(
  `${machine}\n\n| | time | processor time | features | peak |\n|---|---|---|---|---|\n${rows.join('\n')}\n`,
);
