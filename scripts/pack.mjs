// npm run pack -- FILE.tar.xz: what a machine without network, npm and Node.js needs besides a libtorch, a C++ compiler
// and CMake: Node.js itself, the packages that the program uses, the compiled TypeScript, and the addon's sources. There:
//
//   tar -xf FILE.tar.xz && cd reid-native && sh build.sh

import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** Of the repository. */
const PARTS = [
  ...['bin', 'bench/python', 'configs', 'dist', 'native', 'scripts', 'test/support'],
  ...['CMakeLists.txt', 'LICENSE', 'README.md', 'package.json', 'package-lock.json'],
];

const BUILD = `# Builds the addon with the packages and the Node.js that lie here, and shows what there is.
set -e
cd "$(dirname "$0")"
PATH="$PWD/node/bin:$PATH" node scripts/setup.mjs --native
PATH="$PWD/node/bin:$PATH" node bin/reid-native.js doctor
`;

/**
 * Paths of the packages that a lock file lists and that are not for development; those within others are left out,
 * as they come with them, and so are those for other systems, which are not installed.
 */
export function runtimePackages(lock, installed = (path) => existsSync(join(root, path))) {
  return Object.entries(lock.packages)
    .filter(([path, { dev }]) => path.startsWith('node_modules/') && !dev)
    .map(([path]) => path)
    .filter((path) => path.lastIndexOf('node_modules/') === 0 && installed(path));
}

function pack(file) {
  const stage = mkdtempSync(join(tmpdir(), 'reid-native-pack-'));
  const into = join(stage, 'reid-native');
  const link = (from, to) => {
    mkdirSync(dirname(join(into, to)), { recursive: true });
    symlinkSync(from, join(into, to));
  };
  try {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    for (const path of [...PARTS, ...runtimePackages(lock)]) link(join(root, path), path);
    mkdirSync(join(into, 'node/bin'), { recursive: true });
    cpSync(process.execPath, join(into, 'node/bin/node'));
    // Half of it is symbols; where there is no strip it travels as it is.
    spawnSync('strip', [join(into, 'node/bin/node')], { stdio: 'ignore' });
    writeFileSync(join(into, 'build.sh'), BUILD);
    const tar = spawnSync('tar', ['-chJf', resolve(file), '-C', stage, 'reid-native'], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, XZ_OPT: process.env.XZ_OPT ?? '-T0 -3' },
    });
    if (tar.status !== 0) throw new Error('tar failed (it needs xz)');
  } finally {
    rmSync(stage, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [file] = process.argv.slice(2);
  if (!file || file.startsWith('-')) {
    process.stderr.write('usage: npm run pack -- FILE.tar.xz\n');
    process.exitCode = 1;
  } else if (!existsSync(join(root, 'dist/src'))) {
    process.stderr.write('error: dist/ is missing\n\nBuild it with\n  npm run setup\n');
    process.exitCode = 1;
  } else {
    pack(file);
  }
}
