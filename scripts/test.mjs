// Runs the compiled tests with Node's own runner.
//
//   npm test                          all of them
//   npm test -- torch/tensor nn/      the files whose path contains one of these
//   npm test -- --test-name-pattern=x passed on to node

import { spawn } from 'node:child_process';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filesUnder } from './lib/stamps.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const args = process.argv.slice(2).filter((arg) => arg !== '--');
const flags = args.filter((arg) => arg.startsWith('--'));
const filters = args
  .filter((arg) => !arg.startsWith('--'))
  .map((arg) => arg.replace(/^(dist\/)?test\//, '').replace(/\.(test\.)?[jt]s$/, ''));

const folder = join(root, 'dist/test');
const all = filesUnder(folder, (name) => name.endsWith('.test.js'));
const chosen = all.filter((file) => {
  const name = relative(folder, file);
  return filters.length === 0 || filters.some((filter) => name.includes(filter));
});

if (all.length === 0) {
  process.stderr.write('error: dist/ holds no tests\n\nBuild them with\n  npm run build\n');
  process.exitCode = 1;
} else if (chosen.length === 0) {
  process.stderr.write(`error: no test file's path contains ${filters.join(' or ')}; they are:\n`);
  for (const file of all) process.stderr.write(`  ${relative(folder, file)}\n`);
  process.exitCode = 1;
} else {
  const settings = [
    '--test-reporter=spec',
    // Two at a time suit two cores; a test's libtorch uses both for its larger operators anyway.
    '--test-concurrency=2',
    // Nothing takes this long unless it hangs.
    '--test-timeout=900000',
  ];
  const child = spawn(process.execPath, ['--test', ...settings, ...flags, ...chosen], {
    cwd: root,
    stdio: 'inherit',
    // Threads that wait must not spin: two test files at a time share two cores.
    env: { OMP_WAIT_POLICY: 'passive', ...process.env },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1);
  });
}
