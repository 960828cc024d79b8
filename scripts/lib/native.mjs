// Building the addon with cmake-js.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { probe, run, tail } from './run.mjs';
import { contentHash, filesUnder, readStamp, writeStamp } from './stamps.mjs';
import { SetupError } from './ui.mjs';

const GIB = 2 ** 30;
// libtorch's heaviest headers take about 1 GB of compiler memory a file; one more is left for everything else.
const MEMORY_PER_JOB = 1.5 * GIB;

/** How many files to compile at once. */
export function compileJobs(cores = availableParallelism(), memory = totalmem()) {
  return Math.max(1, Math.min(cores, Math.floor((memory - GIB) / MEMORY_PER_JOB)));
}

/** Where the parts of the native build lie. */
export function nativePaths(root) {
  const build = join(root, 'build');
  return {
    build,
    addon: join(build, 'Release/reid_native.node'),
    log: join(build, 'native.log'),
    record: join(build, 'libtorch.json'),
    stamp: join(build, 'native.stamp'),
    cmakeCache: join(build, 'CMakeCache.txt'),
  };
}

/** The hash of everything that the addon is made from. */
export function nativeHash(root, libtorch) {
  const require = createRequire(join(root, 'package.json'));
  const version = (name) => JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')).version;
  const sources = filesUnder(join(root, 'native'), (name) => /\.(cc|cpp|h|hpp|inc)$/.test(name));
  return contentHash(root, [...sources, join(root, 'CMakeLists.txt')], {
    libtorch: { root: libtorch.root, version: libtorch.version, variant: libtorch.variant },
    headers: [version('node-addon-api'), version('node-api-headers')],
    node: process.versions.node.split('.')[0],
    machine: `${process.platform}-${process.arch}`,
  });
}

export function nativeUpToDate(root, hash) {
  const { addon, stamp } = nativePaths(root);
  return existsSync(addon) && readStamp(stamp) === hash;
}

/** What `build/libtorch.json` says, or null. */
export function readRecord(root) {
  try {
    return JSON.parse(readFileSync(nativePaths(root).record, 'utf8'));
  } catch {
    return null;
  }
}

/** Writes `build/libtorch.json`: which libtorch the addon is built on, for the loader's error and the doctor. */
export function writeRecord(root, libtorch) {
  const { build, record } = nativePaths(root);
  mkdirSync(build, { recursive: true });
  const { root: folder, version, variant, cuda, source, python } = libtorch;
  const text = `${JSON.stringify({ root: folder, version, variant, cuda, source, python }, null, 2)}\n`;
  if (!existsSync(record) || readFileSync(record, 'utf8') !== text) writeFileSync(record, text);
}

/** Ninja's `[3/27] Building ...` or make's `[ 11%] Building ...` as a short text, or null for other lines. */
export function compileProgress(line) {
  const match = /^\[\s*(\d+)(?:\/(\d+)|%)\]\s+(.*)$/.exec(line);
  if (!match) return null;
  const [, count, total, rest] = match;
  const file = /([\w.-]+\.(?:cc|cpp|node|so))(?:\.o)?\b[^/]*$/.exec(rest)?.[1] ?? rest;
  return `${count}${total ? ` of ${total}` : '%'}: ${file}`;
}

/**
 * Configures and compiles.
 * @param {string} root the repository
 * @param {import('./libtorch.mjs').Libtorch} libtorch
 * @param {{onProgress(text: string): void, onNote(text: string): void}} report
 * @throws {SetupError} with the end of the log
 */
export async function buildNative(root, libtorch, { onProgress, onNote }) {
  const paths = nativePaths(root);
  mkdirSync(paths.build, { recursive: true });
  dropForeignCache(paths, root);
  const require = createRequire(join(root, 'package.json'));
  const manifest = require.resolve('cmake-js/package.json');
  const cmakeJs = join(dirname(manifest), JSON.parse(readFileSync(manifest, 'utf8')).bin['cmake-js']);
  const call = (command, onLine, ...args) =>
    run(process.execPath, [cmakeJs, command, '--directory', root, ...args], {
      cwd: root,
      log: paths.log,
      append: command !== 'configure',
      onLine,
    });

  onProgress('configuring');
  const configured = await call(
    'configure',
    (line) => {
      const said = /^-- reid-native: (.*)$/.exec(line)?.[1];
      if (said) onNote(said);
    },
    `--CDTORCH_ROOT=${libtorch.root}`,
  );
  if (configured.code !== 0) {
    // A half-configured cache would hide the mending of whatever was wrong.
    rmSync(paths.cmakeCache, { force: true });
    throw failed(paths, configured.output, 'the addon could not be configured', root);
  }
  const jobs = compileJobs();
  onProgress(`compiling, ${jobs} at a time`);
  const built = await call(
    'build',
    (line) => {
      const progress = compileProgress(line);
      if (progress) onProgress(progress);
    },
    '--parallel',
    String(jobs),
  );
  if (built.code !== 0 || !existsSync(paths.addon)) {
    throw failed(paths, built.output, 'the addon could not be compiled', root);
  }
  checkLoads(paths.addon, libtorch);
}

// Better here than at the user's first import: a library that is missing shows only when the addon is loaded.
function checkLoads(addon, libtorch) {
  const loaded = probe(process.execPath, ['-e', `require(${JSON.stringify(addon)})`]);
  if (loaded.ok) return;
  throw new SetupError('the addon was built but does not load', {
    output: loaded.text.split('\n').find((line) => /Error: /.test(line)) ?? tail(loaded.text, 5),
    found: [`libtorch ${libtorch.version} at ${libtorch.root}`],
    fix: [
      'npm run setup -- --relocate   (looks for libtorch again)',
      ...(libtorch.variant === 'cuda' ? ['npm run setup -- --cpu   (does without CUDA)'] : []),
    ],
  });
}

// CMake refuses a cache made in another folder (a copied clone) or by a build tool that is gone.
function dropForeignCache({ build, cmakeCache }, root) {
  if (!existsSync(cmakeCache)) return;
  const cache = readFileSync(cmakeCache, 'utf8');
  const value = (name) => new RegExp(`^${name}:\\w+=(.*)$`, 'm').exec(cache)?.[1];
  const program = value('CMAKE_MAKE_PROGRAM');
  if (value('CMAKE_HOME_DIRECTORY') === root && program !== undefined && existsSync(program)) return;
  rmSync(cmakeCache, { force: true });
  rmSync(join(build, 'CMakeFiles'), { recursive: true, force: true });
}

/** A build's output without what helps nobody: the commands that were run and cmake-js' own chatter. */
export function withoutNoise(output) {
  const noise =
    /^(INFO |ERROR OMG|\$ |\[$|\]$| {2}'|FAILED: |\S+ -D|\S*(c\+\+|g\+\+|clang\+\+|ccache)\S* .*-o )/;
  return output
    .split('\n')
    .filter((line) => !noise.test(line))
    .join('\n');
}

function failed({ log }, output, title, root) {
  const killed = /Killed|out of memory|cannot allocate/i.test(output);
  return new SetupError(title, {
    output: tail(withoutNoise(output), 30),
    found: [`the whole log: ${log}`, ...(killed ? ['the compiler ran out of memory'] : [])],
    fix: [
      `npm run build:native   (again, after mending it; from scratch: rm -rf ${join(root, 'build')} && npm run setup)`,
    ],
  });
}

export function stampNative(root, hash) {
  writeStamp(nativePaths(root).stamp, hash);
}
