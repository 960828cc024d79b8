#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const entry = new URL('../dist/src/cli/main.js', import.meta.url);

// `reid-native config | head` ends quietly, as other programs do.
process.stdout.on('error', (error) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`error: cannot write the standard output: ${error.message}\n`);
  process.exit(1);
});

if (existsSync(entry)) {
  const { main } = await import(entry.href);
  process.exitCode = await main();
} else {
  const here = relative(process.cwd(), root);
  process.stderr.write(
    'error: reid-native is not built yet: dist/ is missing\n\n' +
      `Build it with\n  ${here ? `cd ${here.startsWith('..') ? root : here} && ` : ''}npm run setup\n`,
  );
  process.exitCode = 1;
}
