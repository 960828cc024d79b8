import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type Axis, COLOURS, escapeText, type LineChart, lineChart } from '../charts/index.js';
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
  const [origin, ...rest] = name.split('/');
  if (rest.length < 2) return undefined;
  if (origin === 'health') {
    const [figure] = rest;
    return {
      id: `health_${figure}`,
      title: `Health: ${figure.replace('_', ' ')}`,
      y: { log: figure === 'grad_norm' || figure === 'update_ratio' },
      has: (other) => other.startsWith(`health/${figure}/`),
    };
  }
  if (origin !== 'capture') return undefined;
  // capture/<layer>/<what>/<reduction>; what and where are of another size each.
  const [what, reduction] = rest.slice(-2);
  return {
    id: `capture_${what}_${reduction}`.replace(/[^\w-]/g, '_'),
    title: `Captured: ${reduction} of ${what}`,
    y: { log: reduction === 'norm' },
    has: (other) => other.startsWith('capture/') && other.endsWith(`/${what}/${reduction}`),
  };
}

/** How lines of several runs are told apart, where colours tell what they show. */
const DASHES = [undefined, '6 3', '2 2', '10 3 2 3'];

/** The charts that there are values for: losses, learning rate, results, accuracy, time, health, captured values. */
export function runCharts(runs: readonly RunMetrics[]): RunChart[] {
  const names = [...new Set(runs.flatMap(({ scalars }) => [...scalars.keys()]))];
  const groups = new Map<string, Kind>();
  for (const name of names) {
    const group = groupOf(name);
    if (group) groups.set(group.id, group);
  }
  return [...KINDS, ...groups.values()].flatMap(({ id, title, y, has }) => {
    const shown = names.filter(has);
    if (shown.length === 0) return [];
    return [{ id, title, svg: lineChart({ title, ...linesOf(runs, shown), x: { label: 'iteration' }, y }) }];
  });
}

/** Colours tell names apart and dashes runs; of a single name, colours tell runs. */
function linesOf(
  runs: readonly RunMetrics[],
  names: readonly string[],
): Pick<LineChart, 'series' | 'legend'> {
  const single = names.length === 1;
  const style = (run: number, name: number): { colour: string; dash: string | undefined } => ({
    colour: COLOURS[(single ? run : name) % COLOURS.length],
    dash: single ? undefined : DASHES[run % DASHES.length],
  });
  const short = names.map((name) => name.replace(/^health\/[^/]+\/|^capture\/(.*)\/[^/]+\/[^/]+$/, '$1'));
  const series = runs.flatMap(({ name: run, scalars }, r) =>
    names.flatMap((name, n) => {
      const values = scalars.get(name);
      const label = runs.length > 1 ? `${run}: ${short[n]}` : short[n];
      return values ? [{ name: label, ...values, ...style(r, n) }] : [];
    }),
  );
  if (runs.length === 1) return { series };
  const byRun = runs.map(({ name }, r) => ({
    name,
    colour: single ? style(r, 0).colour : '#555555',
    dash: style(r, 0).dash,
  }));
  const byName = single ? [] : short.map((name, n) => ({ name, colour: style(0, n).colour }));
  return { series, legend: [...byName, ...byRun] };
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
