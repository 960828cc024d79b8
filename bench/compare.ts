// Side by side with Python: the same measurement in child processes of both, taken in turns, so that whatever
// else the machine does hits both alike.

import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../test/support/paths.js';

/** What one child measured: a number for each name. */
export type Sample = Record<string, number>;

/** A measured figure over all rounds. */
export interface Figure {
  name: string;
  unit: string;
  ours: number;
  python: number | null;
  /** ours ÷ python of each round: least, median and greatest */
  ratio: [number, number, number] | null;
  /** What `python` is a figure of, where that is not the same in PyTorch. */
  twin?: string;
}

export interface Result {
  suite: string;
  command: string;
  machine: string;
  versions: Record<string, string>;
  rounds: number;
  figures: Figure[];
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** Runs a program and reads the last line that it prints as JSON. */
export function child(command: string, args: string[], env: NodeJS.ProcessEnv): Sample {
  const run = spawnSync(command, args, { env, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (run.status !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${run.stderr}`);
  return JSON.parse(run.stdout.trim().split('\n').at(-1)!) as Sample;
}

export interface CompareOptions {
  rounds: number;
  units: Record<string, string>;
  args?: string[];
  /** The script in `bench/python` that is run beside, without its ending; the suite's by default, false for none. */
  python?: string | false;
  /** What that script measures, if it is not the same in PyTorch. */
  twin?: string;
}

/** Runs `bench/<suite>.ts --child` and a script of `bench/python` in turns. */
export function compare(suite: string, options: CompareOptions): Figure[] {
  const script = options.python ?? suite;
  const wanted = script !== false;
  const python = wanted ? pythonTorch() : undefined;
  if (wanted && python === undefined)
    process.stderr.write(`Without Python beside it: ${pythonTorchMissing}\n`);
  const ours: Sample[] = [];
  const theirs: Sample[] = [];
  for (let round = 0; round < options.rounds; round++) {
    process.stderr.write(`\r${suite}: round ${round + 1} of ${options.rounds} `);
    ours.push(
      child(
        process.execPath,
        [join(repoRoot, 'dist/bench', `${suite}.js`), '--child', ...(options.args ?? [])],
        process.env,
      ),
    );
    if (python !== undefined) {
      theirs.push(
        child(
          python.command,
          [join(repoRoot, 'bench/python', `${script}.py`), ...(options.args ?? [])],
          python.env,
        ),
      );
    }
  }
  process.stderr.write('\n');
  const measured = figures(ours, theirs, options.units);
  if (options.twin === undefined || theirs.length === 0) return measured;
  return measured.map((figure) => ({ ...figure, twin: options.twin }));
}

/** The medians of both sides and their ratios; `theirs` is empty without Python. A unit may be for `*`, any figure. */
export function figures(
  ours: readonly Sample[],
  theirs: readonly Sample[],
  units: Record<string, string>,
): Figure[] {
  return Object.keys(ours[0]!).map((name) => {
    const mine = ours.map((sample) => sample[name]!);
    const other = theirs.map((sample) => sample[name]).filter((value) => value !== undefined);
    const ratios = other.map((value, i) => mine[i]! / value).sort((a, b) => a - b);
    return {
      name,
      unit: units[name] ?? units['*'] ?? '',
      ours: median(mine),
      python: other.length > 0 ? median(other) : null,
      ratio: ratios.length > 0 ? [ratios[0]!, median(ratios), ratios.at(-1)!] : null,
    };
  });
}

const show = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

export function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.name,
    `${show(figure.ours)} ${figure.unit}`,
    figure.python === null
      ? '–'
      : `${show(figure.python)} ${figure.unit}${figure.twin === undefined ? '' : ` (${figure.twin})`}`,
    figure.ratio === null
      ? '–'
      : `${figure.ratio[1].toFixed(2)} (${figure.ratio[0].toFixed(2)}–${figure.ratio[2].toFixed(2)})`,
  ]);
  const all = [['', 'here', 'Python', 'here ÷ Python'], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...all.map((row) => row[column]!.length)));
  const lines = all.map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`);
  lines.splice(1, 0, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`);
  return lines.join('\n');
}

export function machine(): string {
  const list = cpus();
  return `${list[0]?.model.trim() ?? 'unknown processor'}, ${list.length} cores`;
}
