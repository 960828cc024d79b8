import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomicSync } from '../torch/serialization/atomic-file.js';

/** Writes a small text file so that any reader, at any time, finds the old content or the new, never a part. */
export function writeFileAtomic(path: string, text: string): void {
  writeAtomicSync(path, [Buffer.from(text)]);
}

/** What an atomic write leaves when its process is killed: `.model_0009.pth.1234-89abcdef.tmp`. */
const LEFTOVER = /^\..+\.(\d+)-[0-9a-f]{8}\.tmp$/;

/** Removes what killed processes left in the middle of writing: each is as large as a checkpoint. */
export function removeLeftovers(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = LEFTOVER.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(folder, name), { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Not ours to signal, but there.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
