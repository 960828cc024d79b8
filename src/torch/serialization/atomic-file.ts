/** Replacing a file's content so that at every moment either the old or the whole new content is there. */

import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { writeError } from './write-error.js';

/** Removes the temporary file; the error to throw. */
function abandoned(path: string, temporary: string, error: unknown): unknown {
  fs.rmSync(temporary, { force: true });
  return writeError(path, error, 'Nothing there has changed');
}

interface Target {
  /** The file itself, symbolic links followed. */
  path: string;
  temporary: string;
  /** Permissions of the file that is replaced. */
  mode: number | undefined;
}

function prepare(path: string): Target {
  let target = path;
  let mode: number | undefined;
  try {
    target = fs.realpathSync(path);
    mode = fs.statSync(target).mode & 0o7777;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const suffix = `.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  const temporary = join(dirname(target), `.${basename(target).slice(0, 160)}${suffix}`);
  return { path: target, temporary, mode };
}

/** Makes the new name itself durable. Some systems cannot open folders, and then need no such thing. */
function syncFolder(path: string): void {
  let fd: number | undefined;
  try {
    fd = fs.openSync(dirname(path), 'r');
    fs.fsyncSync(fd);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!['EISDIR', 'EPERM', 'EACCES', 'EINVAL', 'ENOTSUP'].includes(code)) throw error;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function finish({ path, temporary, mode }: Target): void {
  if (mode !== undefined) fs.chmodSync(temporary, mode);
  fs.renameSync(temporary, path);
  syncFolder(path);
}

/** Largest single write; the system's own limit is 2 GiB. */
const maxWrite = 1 << 28;

/** Writes the temporary file and syncs it; on any error it is removed. */
function stage(path: string, chunks: Iterable<Uint8Array>): Target {
  const target = prepare(path);
  try {
    const fd = fs.openSync(target.temporary, 'wx', 0o666);
    try {
      for (const chunk of chunks) {
        for (let at = 0; at < chunk.length; ) {
          at += fs.writeSync(fd, chunk, at, Math.min(chunk.length - at, maxWrite));
        }
      }
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    return target;
  } catch (error) {
    throw abandoned(path, target.temporary, error);
  }
}

/**
 * Writes `chunks`, one after the other, to a temporary file beside `path`, syncs it and renames it to `path`. On any
 * error the temporary file is removed and `path` is as it was. A chunk is used up before the next is asked for.
 */
export function writeAtomicSync(path: string, chunks: Iterable<Uint8Array>): void {
  const target = stage(path, chunks);
  try {
    finish(target);
  } catch (error) {
    throw abandoned(path, target.temporary, error);
  }
}

/** A path and what is to be written there. */
export type Content = readonly [path: string, chunks: Iterable<Uint8Array>];

/**
 * Writes a file and another that describes it. Both are whole, under temporary names, before either is replaced, and
 * the old description goes first: a crash may leave the file without one, but never beside that of another content.
 */
export function writeDescribedSync(file: Content, description: Content): void {
  const staged: Target[] = [];
  try {
    for (const [path, chunks] of [file, description]) staged.push(stage(path, chunks));
    fs.rmSync(staged[1].path, { force: true });
    syncFolder(staged[1].path);
    for (const target of staged) finish(target);
  } catch (error) {
    for (const { temporary } of staged) fs.rmSync(temporary, { force: true });
    throw error;
  }
}

/** As `writeAtomicSync`, without holding up the event loop. */
export async function writeAtomic(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const target = prepare(path);
  try {
    const file = await open(target.temporary, 'wx', 0o666);
    try {
      for (const chunk of chunks) {
        for (let at = 0; at < chunk.length; ) {
          at += (await file.write(chunk, at, Math.min(chunk.length - at, maxWrite))).bytesWritten;
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    finish(target);
  } catch (error) {
    throw abandoned(path, target.temporary, error);
  }
}
