// node dist/bench/growth.js: how evaluation grows with the gallery, drawn from bench/results/evaluation.json into
// docs/evaluation-growth.svg.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { document, element, lineChart, type Series } from '../src/charts/index.js';
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
const time = both('time');
const sizes = ranking.map((one) => CASES[one].gallery);
const perImage = time[0].y[ranking.length - 1] / sizes[ranking.length - 1];
const x = { label: 'gallery images', log: true };
const charts = [
  lineChart({
    title: 'Time',
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
    y: { label: 'MiB', log: true },
    width: 480,
    height: 360,
  }),
];
const name = `Time and memory by gallery size: 1,000 queries, 128-d, ${machine}`;
writeFileSync(
  join(repoRoot, 'docs/evaluation-growth.svg'),
  `${document(960, 360, name, charts[0], element('g', { transform: 'translate(480 0)' }, charts[1]))}\n`,
);
