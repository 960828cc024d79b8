// Compiling TypeScript into dist/.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { run } from './run.mjs';
import { contentHash, filesUnder, readStamp, writeStamp } from './stamps.mjs';
import { SetupError } from './ui.mjs';

const FOLDERS = ['src', 'test', 'bench', 'examples'];

function sources(root) {
  return FOLDERS.flatMap((folder) =>
    filesUnder(join(root, folder), (name) => name.endsWith('.ts') && !name.endsWith('.d.ts')),
  );
}

const outputOf = (root, source) => join(root, 'dist', relative(root, source).replace(/\.ts$/, '.js'));

/** The hash of everything that goes into dist/. */
export function typescriptHash(root) {
  const compiler = JSON.parse(
    readFileSync(join(root, 'node_modules/typescript/package.json'), 'utf8'),
  ).version;
  return contentHash(root, [...sources(root), join(root, 'tsconfig.json')], { compiler });
}

export function typescriptUpToDate(root, hash) {
  return (
    readStamp(join(root, 'dist/.stamp')) === hash &&
    sources(root).every((file) => existsSync(outputOf(root, file)))
  );
}

/**
 * The compiled files whose source is gone. A deleted test would otherwise go on being run.
 * @param {string[]} compiled paths under dist/, relative to it
 * @param {(source: string) => boolean} hasSource asked with the source's path relative to the repository
 */
export function orphans(compiled, hasSource) {
  return compiled.filter((file) => {
    const stem = file.replace(/(\.d\.ts|\.js)(\.map)?$/, '');
    return stem !== file && !hasSource(`${stem}.ts`);
  });
}

/** @throws {SetupError} with the compiler's messages */
export async function buildTypescript(root) {
  const dist = join(root, 'dist');
  const compiled = filesUnder(dist).map((file) => relative(dist, file));
  for (const file of orphans(compiled, (source) => existsSync(join(root, source)))) rmSync(join(dist, file));
  // The compiler trusts its own notes and would not write again what was deleted from dist/.
  if (!sources(root).every((file) => existsSync(outputOf(root, file))))
    rmSync(join(dist, '.tsbuildinfo'), { force: true });
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { code, output } = await run(
    process.execPath,
    [tsc, '-p', join(root, 'tsconfig.json'), '--pretty', 'false'],
    {
      cwd: root,
    },
  );
  if (code !== 0) {
    const lines = output.trimEnd().split('\n');
    const more = lines.length > 40 ? [`... and ${lines.length - 40} more lines`] : [];
    throw new SetupError('TypeScript does not compile', {
      output: [...lines.slice(0, 40), ...more].join('\n'),
      fix: ['npm run typecheck   (shows all messages)'],
    });
  }
}

export function stampTypescript(root, hash) {
  writeStamp(join(root, 'dist/.stamp'), hash);
}
