import { appendFileSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';

export type LogLevel = 'info' | 'warn' | 'error';

/** Writes one finished line (without line end) to the terminal. */
export type LinePrinter = (line: string, level: LogLevel) => void;

const printPlain: LinePrinter = (line, level) => {
  (level === 'info' ? process.stdout : process.stderr).write(`${line}\n`);
};

let printer: LinePrinter = printPlain;
let quiet = false;
const files = new Map<string, number>();

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
  for (const [path, fd] of files) {
    try {
      appendFileSync(fd, `${text}\n`);
    } catch (error) {
      files.delete(path);
      closeSync(fd);
      logger.warn(`nothing more is written to ${path}: ${(error as Error).message}`);
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
  if (!files.has(path)) {
    mkdirSync(dirname(path), { recursive: true });
    files.set(path, openSync(path, 'a'));
  }
  return () => {
    const fd = files.get(path);
    files.delete(path);
    if (fd !== undefined) closeSync(fd);
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
