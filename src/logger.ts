import { AppendedFile } from './appended-file.js';

export type LogLevel = 'info' | 'warn' | 'error';

/** Writes one finished line (without line end) to the terminal. */
export type LinePrinter = (line: string, level: LogLevel) => void;

const printPlain: LinePrinter = (line, level) => {
  (level === 'info' ? process.stdout : process.stderr).write(`${line}\n`);
};

let printer: LinePrinter = printPlain;
let quiet = false;
const files = new Map<string, AppendedFile>();

const two = (n: number): string => String(n).padStart(2, '0');

function stamp(now: Date): string {
  const date = `${two(now.getMonth() + 1)}/${two(now.getDate())}`;
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  return `[${date} ${time}]`;
}

function line(level: LogLevel, message: string): string {
  const mark = level === 'info' ? '' : ` ${level.toUpperCase()}`;
  return `${stamp(new Date())}${mark} ${message}`;
}

/** No log is worth a run: a file that cannot be written (a full disk) is given up. */
function writeFiles(text: string): void {
  for (const [path, file] of files) {
    try {
      file.append(`${text}\n`, { sync: false });
    } catch (error) {
      files.delete(path);
      file.close();
      logger.warn(`the run goes on without its log: ${(error as Error).message}`);
    }
  }
}

function write(level: LogLevel, message: string): void {
  const text = line(level, message);
  if (!quiet || level !== 'info') printer(text, level);
  writeFiles(text);
}

/** Messages of a run, with the time in front: to the terminal, and to every file that `logToFile` opened. */
export const logger = {
  /** Goes to the files only: what one looks up when something is wrong. */
  detail: (message: string): void => writeFiles(line('info', message)),
  info: (message: string): void => write('info', message),
  warn: (message: string): void => write('warn', message),
  error: (message: string): void => write('error', message),
};

/**
 * From now on every message is appended to `path` too (folders are made). Opening a file twice is harmless.
 * Returns a function that stops it.
 */
export function logToFile(path: string): () => void {
  if (!files.has(path)) files.set(path, new AppendedFile(path));
  return () => {
    files.get(path)?.close();
    files.delete(path);
  };
}

/** Where lines go on the terminal: a progress bar takes them to print above itself; null restores the default. */
export function setLinePrinter(next: LinePrinter | null): void {
  printer = next ?? printPlain;
}

/** Silences `info` on the terminal (files still get it). */
export function setQuiet(value: boolean): void {
  quiet = value;
}
