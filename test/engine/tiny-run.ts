import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { repoRoot } from '../support/paths.js';

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

/** Sees the output grow, and may send signals. */
export type Watch = (output: string, kill: (signal: NodeJS.Signals) => void) => void;

/**
 * Runs `tiny-train.js` in a process of its own.
 *
 * @param args its command line
 * @param environment beside this process's, where the data set is above all
 * @param timeout ms after which a training that hangs is killed; 0 for never
 */
export function runTiny(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  watch: Watch = () => {},
  timeout = 0,
): Promise<Ended> {
  return new Promise((resolve) => {
    const program = join(repoRoot, 'dist/test/engine/tiny-train.js');
    const env = { ...process.env, ...environment };
    const child = spawn(process.execPath, [program, ...args], { env, timeout, killSignal: 'SIGKILL' });
    let output = '';
    const take = (chunk: Buffer): void => {
      output += chunk;
      watch(output, (signal) => child.kill(signal));
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('close', (code, signal) => resolve({ code, signal, output }));
  });
}
