// The programs that a build needs: which are there, and the command that installs the others.

import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { probe } from './run.mjs';
import { SetupError } from './ui.mjs';

const PACKAGES = {
  'apt-get': { compiler: 'g++', cmake: 'cmake', python: 'python3', pip: 'python3-pip', jpeg: 'libjpeg-dev' },
  dnf: {
    compiler: 'gcc-c++',
    cmake: 'cmake',
    python: 'python3',
    pip: 'python3-pip',
    jpeg: 'libjpeg-turbo-devel',
  },
  pacman: { compiler: 'gcc', cmake: 'cmake', python: 'python', pip: 'python-pip', jpeg: 'libjpeg-turbo' },
  brew: { compiler: 'gcc', cmake: 'cmake', python: 'python', pip: 'python', jpeg: 'jpeg-turbo' },
};
const INSTALL = {
  'apt-get': 'apt-get install -y',
  dnf: 'dnf install -y',
  pacman: 'pacman -S --noconfirm',
  brew: 'brew install',
};

/** The machine's package manager: the first of the known ones that starts, or 'apt-get' to name something. */
export function packageManager(has = (name) => probe(name, ['--version']).ok) {
  return Object.keys(PACKAGES).find(has) ?? 'apt-get';
}

/**
 * The exact command that installs something.
 * @param {'compiler' | 'cmake' | 'python' | 'pip' | 'jpeg'} what
 * @param {string} [manager] a key of PACKAGES
 * @param {boolean} [root] whether the user already is root
 */
export function installCommand(what, manager = packageManager(), root = process.getuid?.() === 0) {
  const sudo = root || manager === 'brew' ? '' : 'sudo ';
  return `${sudo}${INSTALL[manager]} ${PACKAGES[manager][what]}`;
}

const CXX20 = `
#include <concepts>
#include <span>
#include <string>
template <std::integral T> T twice(T x) { return 2 * x; }
int main() { int a[2] = {1, 2}; return twice(static_cast<int>(std::span<int>(a).size())) - 4; }
`;

/**
 * The C++ compiler CMake will use, tried on a few lines of C++20.
 * @returns {{name: string, version: string}}
 * @throws {SetupError} saying which were tried and how to install one
 */
export function findCompiler(env = process.env) {
  const names = env.CXX ? [env.CXX] : ['c++', 'g++', 'clang++'];
  const folder = mkdtempSync(join(tmpdir(), 'reid-native-cxx-'));
  const tried = [];
  try {
    const source = join(folder, 'probe.cc');
    writeFileSync(source, CXX20);
    for (const name of names) {
      const [command, ...flags] = name.split(/\s+/);
      const version = probe(command, [...flags, '--version'], { env });
      if (!version.ok) {
        tried.push(`${name}: ${version.missing ? 'not found' : 'does not start'}`);
        continue;
      }
      const built = probe(command, [...flags, '-std=c++20', '-fsyntax-only', source], { env });
      if (built.ok) return { name, version: version.text.split('\n')[0] };
      tried.push(`${name}: ${version.text.split('\n')[0]}: does not compile C++20`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  throw new SetupError('no C++20 compiler (GCC 11, Clang 14 or newer) to build the addon with', {
    tried,
    fix: [installCommand('compiler'), 'or name another one: CXX=/path/to/compiler npm run setup'],
  });
}

export const CMAKE_MINIMUM = [3, 18];

/** @returns {{version: string}} @throws {SetupError} if cmake is missing or too old */
export function findCmake(run = probe) {
  const found = run('cmake', ['--version']);
  const match = /version (\d+)\.(\d+)\S*/.exec(found.text);
  if (found.ok && match) {
    const [major, minor] = [Number(match[1]), Number(match[2])];
    if (major > CMAKE_MINIMUM[0] || (major === CMAKE_MINIMUM[0] && minor >= CMAKE_MINIMUM[1])) {
      return { version: match[0].replace('version ', '') };
    }
  }
  throw new SetupError(`no cmake ${CMAKE_MINIMUM.join('.')} or newer to build the addon with`, {
    tried: [`cmake: ${found.missing ? 'not found' : found.text.split('\n')[0]}`],
    fix: [installCommand('cmake')],
  });
}

/** Which build tool cmake-js will find; it takes Ninja where there is one. */
export function findBuildTool(run = probe) {
  for (const name of ['ninja', 'make']) if (run(name, ['--version']).ok) return name;
  throw new SetupError('neither ninja nor make to build the addon with', {
    tried: ['ninja: not found', 'make: not found'],
    fix: [installCommand('compiler').replace(/\S+$/, 'make')],
  });
}

const PROBE = `
import importlib.util as u, json, os, platform, sys
spec = u.find_spec('torch')
torch = os.path.dirname(spec.origin) if spec is not None and spec.origin else None
print(json.dumps({'executable': os.path.realpath(sys.executable), 'version': platform.python_version(), 'torch': torch, 'pip': u.find_spec('pip') is not None}))
`;

/**
 * What a Python is: its version, whether it has pip, and where its torch lies (found, not imported: that takes
 * seconds and needs nothing we need).
 * @returns {{command: string, version: string, torch: string | null, pip: boolean} | null} null if it does not start
 */
export function probePython(command, env = process.env) {
  // Python looks in the working directory first; a folder called torch there must not be taken for the package.
  const found = probe(command, ['-c', PROBE], { env, cwd: '/' });
  if (!found.ok) return null;
  try {
    return { command, ...JSON.parse(found.text) };
  } catch {
    return null;
  }
}

/** The names a Python may have, the user's choice first. */
export function pythonNames(env = process.env) {
  const versions = [13, 12, 11, 14, 10].map((minor) => `python3.${minor}`);
  return [...new Set([...(env.PYTHON ? [env.PYTHON] : []), 'python3', 'python', ...versions])];
}

/**
 * Makes sure that `bytes` are free where `folder` is or will be.
 * @param {(path: string) => {bavail: number, bsize: number}} [statfs] replaced in tests
 * @throws {SetupError}
 */
export function checkDisk(folder, bytes, what, fix, statfs = statfsSync) {
  let existing = folder;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  const { bavail, bsize } = statfs(existing);
  const free = bavail * bsize;
  if (free >= bytes) return;
  const gib = (value) => `${(value / 2 ** 30).toFixed(1)} GiB`;
  throw new SetupError(`not enough disk space for ${what}: ${gib(bytes)} needed`, {
    found: [`${gib(free)} free at ${existing}`],
    fix: [fix],
  });
}
