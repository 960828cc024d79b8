import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { repoRoot } from '../support/paths.js';

export interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program of this repository by Node and collects what it says. */
export function runNode(file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Run> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(repoRoot, file), ...args], {
      env: { ...process.env, DEBUG: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** The command line, as a user calls it. */
export const reidNative = (args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Run> =>
  runNode('bin/reid-native.js', args, env);
