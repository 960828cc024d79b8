import { type ChildProcess, fork, spawn } from 'node:child_process';
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

/** The command line in one process, in which commands run one after another: most of a short one's time is its start. */
export class CommandLine implements Disposable {
  readonly #process: ChildProcess;

  constructor(env: NodeJS.ProcessEnv = {}) {
    const program = join(repoRoot, 'dist/test/cli/command-line.js');
    this.#process = fork(program, { env: { ...process.env, DEBUG: '', ...env }, execArgv: [] });
  }

  run(args: readonly string[]): Promise<Run> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null, signal: string | null): void =>
        reject(new Error(`the process of the command line has ended: ${code ?? signal}`));
      this.#process.once('exit', ended);
      this.#process.once('message', (said: Run) => {
        this.#process.off('exit', ended);
        resolve(said);
      });
      this.#process.send(args);
    });
  }

  [Symbol.dispose](): void {
    this.#process.disconnect();
  }
}
