// Formats the C++ with the clang-format that the npm package of that name ships; with --check only says what differs.

import { existsSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './lib/run.mjs';
import { filesUnder } from './lib/stamps.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const check = process.argv.includes('--check');
const platform = `${process.platform === 'win32' ? 'win32' : `${process.platform}_${process.arch}`}`;
const binary = join(root, 'node_modules/clang-format/bin', platform, 'clang-format');
const files = ['native', 'test/simulated_cuda'].flatMap((folder) =>
  filesUnder(join(root, folder), (name) => /\.(cc|h)$/.test(name)),
);

if (!existsSync(binary)) {
  process.stdout.write(`clang-format: no binary for ${platform}, the C++ is left as it is\n`);
} else if (files.length > 0) {
  const args = check ? ['--dry-run', '--Werror'] : ['-i'];
  const { code, output } = await run(binary, [...args, '--style=file', ...files], { cwd: root });
  if (code === 0) {
    process.stdout.write(`clang-format: ${files.length} files ${check ? 'checked' : 'formatted'}\n`);
  } else {
    const wrong = new Set(
      [...output.matchAll(/^(\S+?):\d+:\d+: error/gm)].map(([, file]) => relative(root, file)),
    );
    process.stderr.write(wrong.size > 0 ? `not formatted: ${[...wrong].join(', ')}\n` : output);
    process.stderr.write('Format with: node scripts/clang-format.mjs\n');
    process.exitCode = 1;
  }
}
