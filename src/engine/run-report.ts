import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type Axis, escapeText, lineChart, type Series } from '../charts/index.js';
import { formatShort } from './format.js';

/** What a run wrote to its metrics.json. */
export interface RunMetrics {
  /** The folder's name. */
  name: string;
  /** Iterations and values of each scalar. */
  scalars: Map<string, { x: number[]; y: number[] }>;
}

/** A chart of one or several runs. */
export interface RunChart {
  /** For file names: `losses`, `learning_rate`. */
  id: string;
  title: string;
  svg: string;
}

/**
 * Reads the metrics of a run. A last line that is cut short, as a crash or a run in progress may leave it, is left out.
 *
 * @param path OUTPUT_DIR of the run, or its metrics.json
 */
export function readMetrics(path: string): RunMetrics {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new Error(`${path} does not exist`);
  const file = stat.isDirectory() ? join(path, 'metrics.json') : path;
  if (!statSync(file, { throwIfNoEntry: false })) {
    throw new Error(
      `${path} has no metrics.json: it is no OUTPUT_DIR of a training, or nothing was written yet`,
    );
  }
  const lines = readFileSync(file, 'utf8').split('\n');
  const scalars: RunMetrics['scalars'] = new Map();
  lines.forEach((line, i) => {
    if (line.trim() === '') return;
    const values = parseLine(line);
    if (values === undefined) {
      if (i === lines.length - 1) return;
      throw new Error(`${file}, line ${i + 1}: not an object with an iteration`);
    }
    for (const [name, value] of Object.entries(values)) {
      // JSON has no NaN: it is null.
      if (name === 'iteration' || (typeof value !== 'number' && value !== null)) continue;
      const scalar = scalars.get(name) ?? { x: [], y: [] };
      scalars.set(name, scalar);
      scalar.x.push(values.iteration);
      scalar.y.push(value ?? Number.NaN);
    }
  });
  if (scalars.size === 0) throw new Error(`${file} has no values in it`);
  return { name: basename(resolve(dirname(file))), scalars };
}

function parseLine(line: string): { iteration: number; [name: string]: number | null } | undefined {
  try {
    const values: unknown = JSON.parse(line);
    const isObject = typeof values === 'object' && values !== null && 'iteration' in values;
    return isObject && typeof values.iteration === 'number' ? (values as { iteration: number }) : undefined;
  } catch {
    return undefined;
  }
}

interface Kind {
  id: string;
  title: string;
  y?: Axis;
  has: (name: string) => boolean;
}

const KINDS: readonly Kind[] = [
  { id: 'losses', title: 'Losses', has: (name) => !name.includes('/') && name.includes('loss') },
  { id: 'learning_rate', title: 'Learning rate', has: (name) => name === 'lr' },
  {
    id: 'results',
    title: 'Results on the test set',
    y: { label: '%' },
    has: (name) => /(^|\/)(mAP|Rank-1|mINP|metric)$/.test(name) && !/^(capture|health)\//.test(name),
  },
  { id: 'accuracy', title: 'Accuracy on the training batches', has: (name) => name.endsWith('accuracy') },
  {
    id: 'time',
    title: 'Time of an iteration',
    y: { label: 's' },
    has: (name) => /^(data_)?time$/.test(name),
  },
];

/** Captured values and those of health hooks: one chart for each kind of figure. */
function groupOf(name: string): Kind | undefined {
  const parts = /^(capture|health)\/(.+)$/.exec(name);
  if (!parts) return undefined;
  const figure = parts[1] === 'health' ? parts[2].split('/')[0] : name.slice(name.lastIndexOf('/') + 1);
  return {
    id: `${parts[1]}_${figure}`,
    title: parts[1] === 'health' ? `Health: ${figure.replace('_', ' ')}` : `Captured: ${figure}`,
    has: (other) =>
      other.startsWith(`${parts[1]}/`) &&
      (parts[1] === 'health' ? other.split('/')[1] === figure : other.endsWith(`/${figure}`)),
  };
}

/** The charts that there are values for: losses, learning rate, results, accuracy, time, health, captured values. */
export function runCharts(runs: readonly RunMetrics[]): RunChart[] {
  const names = [...new Set(runs.flatMap(({ scalars }) => [...scalars.keys()]))];
  const groups = new Map<string, Kind>();
  for (const name of names) {
    const group = groupOf(name);
    if (group) groups.set(group.id, group);
  }
  return [...KINDS, ...groups.values()].flatMap(({ id, title, y, has }) => {
    const series = runs.flatMap((run) =>
      names
        .filter((name) => has(name) && run.scalars.has(name))
        .map((name) => seriesOf(run, name, runs.length > 1)),
    );
    if (series.length === 0) return [];
    return [{ id, title, svg: lineChart({ title, series, x: { label: 'iteration' }, y }) }];
  });
}

function seriesOf({ name: run, scalars }: RunMetrics, name: string, several: boolean): Series {
  const short = name.replace(/^(capture|health\/[^/]+)\//, '');
  return { name: several ? `${run}: ${short}` : short, ...scalars.get(name)! };
}

/** One page with the charts and the last value of what was measured; it needs no other file. */
export function runPage(runs: readonly RunMetrics[], charts: readonly RunChart[]): string {
  const title = runs.map(({ name }) => name).join(', ');
  const shown = ['total_loss', 'mAP', 'Rank-1', 'metric'];
  const names = [...new Set(runs.flatMap(({ scalars }) => [...scalars.keys()]))].filter((name) =>
    shown.some((end) => name === end || name.endsWith(`/${end}`)),
  );
  const row = (cells: readonly string[], tag: string): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeText(cell)}</${tag}>`).join('')}</tr>`;
  const last = (run: RunMetrics, name: string): string => {
    const value = run.scalars.get(name)?.y.at(-1);
    return value === undefined ? '–' : formatShort(value);
  };
  const table = [
    row(['run', ...names], 'th'),
    ...runs.map((run) => row([run.name, ...names.map((n) => last(run, n))], 'td')),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeText(title)}</title>
<style>
body { font: 14px Helvetica, Arial, sans-serif; margin: 2em; }
table { border-collapse: collapse; margin-bottom: 1em; }
th, td { padding: 0.3em 1em; text-align: right; border-bottom: 1px solid #ccc; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; margin: 0 1em 1em 0; }
svg { max-width: 100%; height: auto; }
</style>
</head>
<body>
<h1>${escapeText(title)}</h1>
<table>
${table.join('\n')}
</table>
${charts.map(({ svg }) => `<figure>${svg}</figure>`).join('\n')}
</body>
</html>
`;
}
