// Downloading libtorch: the Python wheel of torch, unpacked by pip into a folder of its own.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
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
  return variant === 'cpu' ? [`torch==${PIN}+cpu`, `torch==${PIN}`] : [`torch===${PIN}`, pipRange];
}

/** pip's arguments for one requirement. */
export function pipArguments(requirement, target, { withDependencies, pythonVersion }) {
  const [, minor] = pythonVersion.split('.').map(Number);
  const known = pythonVersion.startsWith('3.') && minor >= WHEEL_PYTHONS.min && minor <= WHEEL_PYTHONS.max;
  return [
    '-m',
    'pip',
    'install',
    '--target',
    target,
    '--only-binary',
    ':all:',
    ...(known ? [] : ['--python-version', WHEEL_PYTHONS.fallback]),
    ...(withDependencies ? [] : ['--no-deps']),
    '--disable-pip-version-check',
    '--no-input',
    '--progress-bar',
    'off',
    requirement,
  ];
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
    (variant === 'cuda' ? 16 : 2) * GIB,
    `libtorch (${variant})`,
    'free some, or put the cache elsewhere: REID_NATIVE_CACHE=/big/disk npm run setup',
  );
  mkdirSync(folder, { recursive: true });
  removeLeftovers(folder);
  const temporary = join(folder, `${PIN}-${variant}.tmp-${process.pid}`);
  const tried = [];
  let output = '';
  try {
    for (const requirement of requirements(variant)) {
      // Dependencies (cuDNN, NCCL, ...) make a CUDA build loadable; a CPU build carries all it needs.
      for (const withDependencies of variant === 'cuda' ? [true] : [false, true]) {
        rmSync(temporary, { recursive: true, force: true });
        const scratch = join(temporary, '.pip');
        mkdirSync(scratch, { recursive: true });
        const target = join(temporary, 'site');
        // pip unpacks under TMPDIR and then moves: in the same folder, so that only the cache's disk must have room.
        const env = { ...process.env, TMPDIR: scratch, PYTHONDONTWRITEBYTECODE: '1' };
        const args = pipArguments(requirement, target, { withDependencies, pythonVersion: python.version });
        const result = await runner(python.command, args, {
          env,
          onLine: (line) => onProgress(line.trim().slice(0, 80)),
        });
        output = result.output;
        if (result.code !== 0) {
          tried.push(`${python.command} -m pip install '${requirement}': ${pipReason(output)}`);
          break;
        }
        const found = inspect(target);
        if (!found.ok) {
          tried.push(`${python.command} -m pip install '${requirement}': ${found.reason}`);
          break;
        }
        const got = found.libtorch;
        if (variant === 'cuda' && got.variant !== 'cuda') {
          tried.push(`${python.command} -m pip install '${requirement}': gave ${got.version}, a CPU build`);
          break;
        }
        if (got.variant === 'cuda' && !withDependencies) continue;
        return adopt(folder, target, got);
      }
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
