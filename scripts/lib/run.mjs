// Starting other programs.

import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';

/**
 * Runs a program, passing on each line it prints and keeping all of it in a log file.
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, log?: string, append?: boolean, onLine?: (line: string) => void}} [options]
 * @returns {Promise<{code: number, output: string}>} exit code (1 if it was killed or could not start) and the output
 */
export function run(command, args, { cwd, env = process.env, log, append = false, onLine } = {}) {
  const file = log === undefined ? undefined : openSync(log, append ? 'a' : 'w');
  if (file !== undefined) writeSync(file, `$ ${[command, ...args].join(' ')}\n`);
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks = [];
    let rest = '';
    const take = (chunk) => {
      chunks.push(chunk);
      if (file !== undefined) writeSync(file, chunk);
      const lines = (rest + chunk).split(/\r?\n|\r/);
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim()) onLine?.(line);
    };
    let ended = false;
    const finish = (code) => {
      if (ended) return;
      ended = true;
      if (rest.trim()) onLine?.(rest);
      if (file !== undefined) closeSync(file);
      resolve({ code, output: chunks.join('') });
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', (error) => {
      take(`${error.message}\n`);
      finish(1);
    });
    child.on('close', (code) => finish(code ?? 1));
  });
}

/**
 * Runs a short program and waits.
 * @returns {{ok: boolean, text: string, missing: boolean}} stdout (stderr when that is empty), trimmed
 */
export function probe(command, args, { env = process.env, cwd, input } = {}) {
  const result = spawnSync(command, args, { env, cwd, input, encoding: 'utf8', timeout: 60_000 });
  const text = (result.stdout || result.stderr || '').trim();
  return { ok: result.status === 0, text, missing: result.error?.code === 'ENOENT' };
}

/** The last lines of an output. */
export function tail(output, lines = 30) {
  return output.trimEnd().split('\n').slice(-lines).join('\n');
}
