// Downloading libtorch: the Python wheel of torch, unpacked by pip into a folder of its own.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from './libtorch.mjs';
import { run, tail } from './run.mjs';
import { checkDisk, installCommand } from './tools.mjs';
import { SetupError } from './ui.mjs';
import { PIN, parseVersion, pipRange, rangeText } from './version.mjs';

// torch publishes wheels for these; with another Python pip is told to fetch for the first of them.
const WHEEL_PYTHONS = { min: 10, max: 14, fallback: '3.11' };
const GIB = 2 ** 30;

/**
 * The requirements to ask pip for, best first. Package indexes differ: on some `torch==2.13.0` is a CUDA build and
 * the CPU one is `2.13.0+cpu`, others have a single build. `===` keeps a plain version from matching `+cpu`.
 */
export function requirements(variant) {
  return variant === 'cpu'
    ? [`torch==${PIN}+cpu`, `torch==${PIN}`]
    : [`torch===${PIN}`, `${pipRange},!=${PIN}`];
}

/** pip's arguments that put packages (and what they need, if asked) into a folder. */
export function pipArguments(packages, target, { withDependencies, pythonVersion }) {
  const [, minor] = pythonVersion.split('.').map(Number);
  const known = pythonVersion.startsWith('3.') && minor >= WHEEL_PYTHONS.min && minor <= WHEEL_PYTHONS.max;
  return [
    ...['-m', 'pip', 'install', '--target', target, '--only-binary', ':all:'],
    ...(known ? [] : ['--python-version', WHEEL_PYTHONS.fallback]),
    ...(withDependencies ? [] : ['--no-deps']),
    ...['--disable-pip-version-check', '--no-input', '--progress-bar', 'off'],
    ...packages,
  ];
}

/**
 * The packages with the libraries that a CUDA build of libtorch loads, out of the wheel's own list. What only Python
 * uses (Triton, SymPy, ...) is left out: it is large, and not every index has it.
 * @param {string} metadata the wheel's METADATA
 * @returns {string[]} requirements for pip
 */
export function cudaLibraries(metadata) {
  return [...metadata.matchAll(/^Requires-Dist:\s*((?:nvidia-|cuda-toolkit)[^;\n]*?)\s*(?:;.*)?$/gim)]
    .map(([, requirement]) => requirement.replace(/[()\s]/g, ''))
    .filter((requirement, i, all) => all.indexOf(requirement) === i);
}

/** The packages with headers that libtorch's CUDA headers include but that it does not need to run. */
export function cudaHeaders(cuda) {
  const [major] = (cuda ?? '').split('.');
  // Before CUDA 13 the packages were cut otherwise; the build then does without what it does not find.
  return Number(major) >= 13 ? [`nvidia-cuda-crt==${cuda}.*`, `nvidia-cuda-cccl==${cuda}.*`] : [];
}

/** The Python to run pip with: one that torch has wheels for if possible. */
export function choosePython(pythons) {
  const withPip = pythons.filter(({ pip }) => pip);
  const minor = ({ version }) => (version.startsWith('3.') ? Number(version.split('.')[1]) : -1);
  const known = (python) => minor(python) >= WHEEL_PYTHONS.min && minor(python) <= WHEEL_PYTHONS.max;
  return withPip.find(known) ?? withPip.find((python) => minor(python) >= 8);
}

/** @throws {SetupError} if there is no Python with pip */
export function requirePython(pythons) {
  const python = choosePython(pythons);
  if (python) return python;
  if (pythons.length === 0) {
    throw new SetupError('no Python 3 to fetch libtorch with', {
      tried: ['python3: not found', 'python: not found'],
      fix: [`${installCommand('python')} ${installCommand('pip').split(' ').at(-1)}`, ...OTHER_WAYS],
    });
  }
  throw new SetupError('no Python with pip to fetch libtorch with', {
    found: pythons.map(({ command, version }) => `${command} ${version}: has no pip`),
    fix: [installCommand('pip'), ...OTHER_WAYS],
  });
}

const OTHER_WAYS = [
  `or name a libtorch ${rangeText} that you have: LIBTORCH=/path/to/libtorch npm run setup`,
  `or let Python find one: pip install torch==${PIN}`,
];

/**
 * Installs torch into `<folder>/<version>-<variant>` and returns the libtorch inside. The folder appears whole or not
 * at all: everything is written under a temporary name beside it, which is then renamed.
 * @param {object} options
 * @param {'cpu' | 'cuda'} options.variant what is wanted; if only CUDA builds are to be had, those come for 'cpu' too
 * @param {string} options.folder the cache
 * @param {ReturnType<typeof import('./tools.mjs').probePython>[]} options.pythons
 * @param {(text: string) => void} options.onProgress
 * @param {typeof run} [options.runner] replaced in tests
 */
export async function pipInstall({ variant, folder, pythons, onProgress, runner = run }) {
  const python = requirePython(pythons);
  checkDisk(
    folder,
    (variant === 'cuda' ? 10 : 2) * GIB,
    `libtorch (${variant})`,
    'free some, or put the cache elsewhere: REID_NATIVE_CACHE=/big/disk npm run setup',
  );
  mkdirSync(folder, { recursive: true });
  removeLeftovers(folder);
  const temporary = join(folder, `${PIN}-${variant}.tmp-${process.pid}`);
  const target = join(temporary, 'site');
  const scratch = join(temporary, 'scratch');
  const tried = [];
  let output = '';
  const pip = async (packages, withDependencies) => {
    const args = pipArguments(packages, target, { withDependencies, pythonVersion: python.version });
    // pip unpacks under TMPDIR and then moves: in the same folder, so that only the cache's disk must have room.
    const env = { ...process.env, TMPDIR: scratch, PYTHONDONTWRITEBYTECODE: '1' };
    const result = await runner(python.command, args, { env, onLine: (line) => onProgress(shorten(line)) });
    output = result.output;
    if (result.code === 0) return true;
    tried.push(
      `${python.command} -m pip install ${packages.map((name) => `'${name}'`).join(' ')}: ${pipReason(output)}`,
    );
    return false;
  };
  try {
    for (const requirement of requirements(variant)) {
      rmSync(temporary, { recursive: true, force: true });
      mkdirSync(scratch, { recursive: true });
      if (!(await pip([requirement], false))) continue;
      const found = inspect(target);
      const gave = found.ok ? `gave ${found.libtorch.version}, a CPU build` : found.reason;
      if (!found.ok || (variant === 'cuda' && found.libtorch.variant === 'cpu')) {
        tried.push(`${python.command} -m pip install '${requirement}': ${gave}`);
        continue;
      }
      if (found.libtorch.variant === 'cuda' && !(await addCudaLibraries(found.libtorch, target, pip)))
        continue;
      return adopt(folder, target, found.libtorch);
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  throw new SetupError(`libtorch ${PIN} (${variant}) could not be downloaded`, {
    output: tail(output, 8),
    tried,
    fix: [
      'npm run setup   (again, if the network was at fault; pip takes PIP_INDEX_URL and PIP_EXTRA_INDEX_URL)',
      ...OTHER_WAYS,
    ],
  });
}

// All in one call: pip moves whole folders into place, and these packages share one called nvidia.
async function addCudaLibraries({ cuda }, target, pip) {
  const info = readdirSync(target).find((name) => /^torch-.*\.dist-info$/.test(name));
  const libraries = info ? cudaLibraries(readFileSync(join(target, info, 'METADATA'), 'utf8')) : [];
  if (libraries.length === 0) return true;
  const headers = cudaHeaders(cuda);
  return (
    (headers.length > 0 && (await pip([...libraries, ...headers], true))) || (await pip(libraries, true))
  );
}

const shorten = (line) => line.trim().replace(/\s+/g, ' ').slice(0, 80);

function adopt(folder, target, { version, variant }) {
  const { major, minor, patch } = parseVersion(version);
  const home = join(folder, `${major}.${minor}.${patch}-${variant}`);
  // Something unusable may be in the way (it would have been found in the cache otherwise).
  if (existsSync(home) && !inspect(home).ok) rmSync(home, { recursive: true, force: true });
  if (!existsSync(home)) renameSync(target, home);
  return inspect(home).libtorch;
}

// A killed set-up leaves its temporary folder, named after its process.
function removeLeftovers(folder) {
  for (const name of readdirSync(folder)) {
    const pid = /\.tmp-(\d+)$/.exec(name)?.[1];
    if (pid === undefined) continue;
    try {
      process.kill(Number(pid), 0);
    } catch (error) {
      if (error.code === 'ESRCH') rmSync(join(folder, name), { recursive: true, force: true });
    }
  }
}

/** The line of pip's output that says what went wrong. */
export function pipReason(output) {
  const lines = output.split('\n').filter((line) => /^\s*ERROR:/.test(line));
  return (lines.at(-1) ?? tail(output, 1)).replace(/^\s*ERROR:\s*/, '').trim();
}
