import { spawnSync } from 'node:child_process';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';

/** Runs a Python program with torch in one child process: `input` as JSON on its stdin, its stdout read as JSON. */
export function runPython<T>(program: string, input: unknown): T {
  const python = pythonTorch();
  if (!python) throw new Error(pythonTorchMissing);
  const child = spawnSync(python.command, ['-W', 'ignore', '-c', program], {
    env: python.env,
    input: JSON.stringify(input),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (child.status !== 0)
    throw new Error(`Python failed (${child.status ?? child.signal}):\n${child.stderr}`);
  return JSON.parse(child.stdout) as T;
}
