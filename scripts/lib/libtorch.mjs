// Finding libtorch: LIBTORCH, then an importable Python torch, then the cache, which pip fills if need be.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { SetupError } from './ui.mjs';
import { headerVersion, inRange, PIN, parseVersion, pythonVersionFile, rangeText } from './version.mjs';

const sharedLibrary = (name) => `lib${name}.${process.platform === 'darwin' ? 'dylib' : 'so'}`;

/**
 * @typedef {object} Libtorch
 * @property {string} root the folder that holds include/ and lib/
 * @property {string} version such as '2.13.0+cpu'
 * @property {'cpu' | 'cuda'} variant
 * @property {string | null} cuda CUDA's version, if it is known
 */

/**
 * Reads what lies at a path: a libtorch, a site-packages folder or an unpacked archive holding one.
 * @param {string} path
 * @returns {{ok: true, libtorch: Libtorch} | {ok: false, reason: string}}
 */
export function inspect(path) {
  if (!existsSync(path)) return { ok: false, reason: 'no such folder' };
  const root = [path, join(path, 'torch'), join(path, 'libtorch')].find((folder) =>
    existsSync(join(folder, 'include/ATen/ATen.h')),
  );
  if (root === undefined) return { ok: false, reason: 'no include/ATen/ATen.h there: not a libtorch' };
  for (const name of ['c10', 'torch_cpu', 'torch']) {
    const file = join('lib', sharedLibrary(name));
    if (!existsSync(join(root, file))) return { ok: false, reason: `${file} is missing` };
  }
  const version = readVersion(root);
  if (version.text === null) return { ok: false, reason: 'its headers do not say a version' };
  if (!inRange(version.text)) return { ok: false, reason: `version ${version.text} is outside ${rangeText}` };
  const variant = existsSync(join(root, 'lib', sharedLibrary('torch_cuda'))) ? 'cuda' : 'cpu';
  return { ok: true, libtorch: { root, version: version.text, variant, cuda: version.cuda } };
}

// The headers decide, for they are what is compiled against; the Python file or build-version add '+cpu'.
function readVersion(root) {
  const read = (file) => (existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : '');
  const header = ['include/torch/headeronly/version.h', 'include/torch/csrc/api/include/torch/version.h']
    .map((file) => headerVersion(read(file)))
    .find((version) => version !== null);
  const python = pythonVersionFile(read('version.py'));
  const named = python.version ?? (read('build-version').trim() || null);
  const agrees = named && header && named.startsWith(header);
  return { text: agrees ? named : (header ?? named), cuda: python.cuda };
}

/** The folder that downloaded libtorches live in, one sub-folder each. */
export function cacheFolder(env = process.env, home = homedir()) {
  const xdg =
    env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : join(home, '.cache');
  return join(env.REID_NATIVE_CACHE ? resolve(env.REID_NATIVE_CACHE) : join(xdg, 'reid-native'), 'libtorch');
}

/** The libtorches in the cache that are whole: the pinned one first, then the newest. */
export function cached(folder = cacheFolder()) {
  if (!existsSync(folder)) return [];
  const order = ({ version }) => {
    const { major, minor, patch } = parseVersion(version);
    return version.startsWith(PIN) ? Number.POSITIVE_INFINITY : (major * 1000 + minor) * 1000 + patch;
  };
  return readdirSync(folder)
    .filter((name) => !name.includes('.tmp-'))
    .map((name) => inspect(join(folder, name)))
    .filter((found) => found.ok)
    .map((found) => found.libtorch)
    .sort((a, b) => order(b) - order(a) || basename(a.root).localeCompare(basename(b.root)));
}

/**
 * Decides which libtorch is used. What it asks of the machine comes in as functions.
 * @param {object} machine
 * @param {NodeJS.ProcessEnv} machine.env
 * @param {'cpu' | 'cuda' | undefined} machine.variant what the user asked for by flag
 * @param {boolean} machine.gpu whether the machine has an NVIDIA GPU
 * @param {() => {command: string, version: string, torch: string | null, pip: boolean}[]} machine.pythons
 * @param {(path: string) => ReturnType<typeof inspect>} machine.inspect
 * @param {() => Libtorch[]} machine.cached
 * @param {(variant: 'cpu' | 'cuda') => Promise<Libtorch>} machine.install downloads; throws SetupError
 * @returns {Promise<Libtorch & {source: 'LIBTORCH' | 'python' | 'cache', trail: string[]}>}
 * @throws {SetupError} with everything that was tried
 */
export async function locate(machine) {
  const trail = [];
  const wanted = machine.variant;
  const suits = (libtorch) => wanted === undefined || libtorch.variant === wanted;

  if (machine.env.LIBTORCH) {
    const found = machine.inspect(resolve(machine.env.LIBTORCH));
    if (!found.ok) throw badLibtorch(machine.env.LIBTORCH, found.reason);
    if (!suits(found.libtorch)) {
      throw badLibtorch(
        machine.env.LIBTORCH,
        `it is a ${found.libtorch.variant} build, --${wanted} was asked for`,
      );
    }
    return { ...found.libtorch, source: 'LIBTORCH', trail: ['LIBTORCH is set'] };
  }
  trail.push('LIBTORCH: not set');

  const pythons = machine.pythons();
  if (pythons.length === 0) trail.push('Python: none found');
  for (const { command, version, torch } of pythons) {
    if (torch === null) {
      trail.push(`${command} ${version}: has no torch`);
      continue;
    }
    const found = machine.inspect(torch);
    if (found.ok && suits(found.libtorch)) return { ...found.libtorch, source: 'python', trail };
    const reason = found.ok ? `a ${found.libtorch.variant} build, --${wanted} was asked for` : found.reason;
    trail.push(`${command} ${version}: torch at ${torch}: ${reason}`);
  }

  const variant = wanted ?? (machine.gpu ? 'cuda' : 'cpu');
  const inCache = machine.cached();
  const hit = inCache.find((libtorch) => libtorch.variant === variant);
  if (hit) return { ...hit, source: 'cache', trail };
  trail.push(`cache: ${inCache.length ? `no ${variant} build` : 'empty'}`);

  try {
    return { ...(await machine.install(variant)), source: 'cache', trail };
  } catch (error) {
    // Nobody asked for CUDA by name: the CPU build at hand is better than stopping.
    const other = wanted === undefined ? inCache[0] : undefined;
    if (other && error instanceof SetupError) {
      return { ...other, source: 'cache', trail: [...trail, `pip: ${error.message}`] };
    }
    if (error instanceof SetupError) error.tried.unshift(...trail);
    throw error;
  }
}

function badLibtorch(path, reason) {
  return new SetupError('LIBTORCH does not name a usable libtorch', {
    tried: [`LIBTORCH=${path}: ${reason}`],
    fix: [
      'unset LIBTORCH && npm run setup',
      `or point it at a libtorch ${rangeText} (the folder that holds include/ and lib/)`,
    ],
  });
}
