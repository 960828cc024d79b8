import { existsSync, readFileSync } from 'node:fs';
import { AppendedFile } from '../../appended-file.js';
import { type EventWriter, getEventStorage } from '../events.js';
import { writeFileAtomic } from '../files.js';

/**
 * Writes scalars to a file, one JSON object a line: `{"data_time": …, "iteration": 199, "lr": …, …}`. Each line
 * holds what was put at that iteration (medians over `window` values for noisy scalars) and is on the disk when
 * `write` returns. Where it cannot be written, a full disk above all, `write` throws, and the file holds the lines that
 * were there before.
 *
 * Appends to an existing file; a line cut short by a crash is removed first. With `startIter`, so are lines of that and
 * later iterations: after a resume the file looks as if the run had never stopped.
 */
export class JsonWriter implements EventWriter {
  private readonly file: AppendedFile;
  private readonly window: number;
  private lastWritten = -1;

  constructor(path: string, { window = 20, startIter }: { window?: number; startIter?: number } = {}) {
    if (existsSync(path)) {
      const last = keepBefore(path, startIter ?? Number.POSITIVE_INFINITY);
      if (startIter !== undefined) this.lastWritten = last;
    }
    this.file = new AppendedFile(path);
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
    let text = '';
    for (const iteration of iterations) {
      const line: Record<string, number> = { ...lines.get(iteration), iteration };
      text += `${JSON.stringify(line, Object.keys(line).sort())}\n`;
    }
    this.file.append(text);
    this.lastWritten = iterations[iterations.length - 1];
  }

  close(): void {
    this.file.close();
  }
}

/**
 * Removes lines of `startIter` and later, and what is no line; returns the iteration of the last line that stays, −1
 * without one.
 */
function keepBefore(path: string, startIter: number): number {
  let last = -1;
  const text = readFileSync(path, 'utf8');
  const lines = text.split('\n').filter((line) => {
    const iteration = iterationOf(line);
    if (iteration === undefined || iteration >= startIter) return false;
    last = Math.max(last, iteration);
    return true;
  });
  const kept = lines.map((line) => `${line}\n`).join('');
  if (kept !== text) writeFileAtomic(path, kept);
  return last;
}

function iterationOf(line: string): number | undefined {
  try {
    return (JSON.parse(line) as { iteration?: number }).iteration;
  } catch {
    return undefined;
  }
}
