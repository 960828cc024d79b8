// Installing the npm packages.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, tail } from './run.mjs';
import { packagesStale } from './stamps.mjs';
import { SetupError } from './ui.mjs';

/** Why `npm ci` has to run, or null. A copy installed as somebody's dependency has no lock file and needs nothing. */
export function npmReason(root) {
  const lockFile = join(root, 'package-lock.json');
  if (!existsSync(lockFile)) return null;
  const installedFile = join(root, 'node_modules/.package-lock.json');
  const read = (file) => JSON.parse(readFileSync(file, 'utf8'));
  return packagesStale(read(lockFile), existsSync(installedFile) ? read(installedFile) : null);
}

/** @throws {SetupError} with the end of npm's output */
export async function npmInstall(root, onProgress) {
  // Under `npm run`, the very npm that runs us; its own settings come along in the environment.
  const self = process.env.npm_execpath;
  const [command, ...first] = self?.endsWith('.js') ? [process.execPath, self] : ['npm'];
  const args = [...first, 'ci', '--include=dev', '--no-audit', '--no-fund'];
  const started = Date.now();
  const clock = setInterval(() => onProgress(`npm ci, ${Math.round((Date.now() - started) / 1000)} s`), 1000);
  const { code, output } = await run(command, args, { cwd: root });
  clearInterval(clock);
  if (code !== 0) {
    // npm says what is wrong first and explains its options after.
    const errors = output.split('\n').filter((line) => line.startsWith('npm error'));
    throw new SetupError('npm ci failed', {
      output: errors.length > 0 ? errors.slice(0, 12).join('\n') : tail(output, 25),
      fix: ['npm ci   (in this folder; it shows all)'],
    });
  }
}
