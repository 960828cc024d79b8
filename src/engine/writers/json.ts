import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { type EventWriter, getEventStorage } from '../events.js';
import { writeFileAtomic } from '../files.js';

/**
 * Writes scalars to a file, one JSON object a line: `{"data_time": …, "iteration": 199, "lr": …, …}`. Each line
 * holds what was put at that iteration (medians over `window` values for noisy scalars) and is on the disk when
 * `write` returns.
 *
 * Appends to an existing file. With `startIter`, lines of that and later iterations are removed first, and so is
 * a line cut short by a crash: after a resume the file looks as if the run had never stopped.
 */
export class JsonWriter implements EventWriter {
  private readonly fd: number;
  private readonly window: number;
  private lastWritten = -1;

  constructor(path: string, { window = 20, startIter }: { window?: number; startIter?: number } = {}) {
    mkdirSync(dirname(path), { recursive: true });
    if (startIter !== undefined && existsSync(path)) this.lastWritten = keepBefore(path, startIter);
    this.fd = openSync(path, 'a');
    this.window = window;
  }

  write(): void {
    const lines = new Map<number, Record<string, number>>();
    for (const [name, [value, iteration]] of getEventStorage().latestWithSmoothing(this.window)) {
      if (iteration <= this.lastWritten) continue;
      const line = lines.get(iteration) ?? {};
      line[name] = value;
      lines.set(iteration, line);
    }
    if (lines.size === 0) return;
    const iterations = [...lines.keys()].sort((a, b) => a - b);
    this.lastWritten = iterations[iterations.length - 1];
    let text = '';
    for (const iteration of iterations) {
      const line: Record<string, number> = { ...lines.get(iteration), iteration };
      text += `${JSON.stringify(line, Object.keys(line).sort())}\n`;
    }
    writeSync(this.fd, text);
    fsyncSync(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Removes lines of `startIter` and later; returns the iteration of the last line that stays, −1 without one. */
function keepBefore(path: string, startIter: number): number {
  let last = -1;
  const kept = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => {
      const iteration = iterationOf(line);
      if (iteration === undefined || iteration >= startIter) return false;
      last = Math.max(last, iteration);
      return true;
    });
  writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
  return last;
}

function iterationOf(line: string): number | undefined {
  try {
    return (JSON.parse(line) as { iteration?: number }).iteration;
  } catch {
    return undefined;
  }
}
