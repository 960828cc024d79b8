import { spawnSync } from 'node:child_process';
import { pythonTorch, pythonTorchMissing } from './paths.js';

/**
 * Runs a program in the Python that `pythonTorch()` found: `input` as JSON on its stdin, its stdout read as
 * JSON.
 */
export function runPython<T>(program: string, input: unknown = null): T {
  const python = pythonTorch();
  if (!python) throw new Error(pythonTorchMissing);
  const { status, signal, stdout, stderr } = spawnSync(python.command, ['-W', 'ignore', '-c', program], {
    env: python.env,
    input: JSON.stringify(input),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`Python failed (${status ?? signal}):\n${stderr}`);
  return JSON.parse(stdout) as T;
}
