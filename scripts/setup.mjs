// Makes a fresh clone ready: npm packages, libtorch, the addon, the compiled TypeScript. Every step says what it does
// and is skipped when nothing it depends on has changed. Plain Node, for it runs before anything is installed.

import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached, cacheFolder, inspect, locate } from './lib/libtorch.mjs';
import { withLock } from './lib/lock.mjs';
import {
  buildNative,
  nativeHash,
  nativePaths,
  nativeUpToDate,
  readRecord,
  stampNative,
  writeRecord,
} from './lib/native.mjs';
import { npmInstall, npmReason } from './lib/npm.mjs';
import { choosePython, pipInstall, requirePython } from './lib/pip-torch.mjs';
import { probe } from './lib/run.mjs';
import { checkDisk, findBuildTool, findCmake, findCompiler, probePython, pythonNames } from './lib/tools.mjs';
import { buildTypescript, stampTypescript, typescriptHash, typescriptUpToDate } from './lib/typescript.mjs';
import { joinErrors, SetupError, Steps } from './lib/ui.mjs';
import { PIN, rangeText } from './lib/version.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

const HELP = `Usage: npm run setup [-- OPTIONS]

Installs npm packages, finds or downloads libtorch, builds the addon, compiles TypeScript.
What is already done is skipped.

Options:
  --cpu, --cuda   which libtorch to use (default: CUDA where the machine has an NVIDIA GPU)
  --relocate      look for libtorch again instead of keeping the one chosen before
  --build         only the addon and the TypeScript
  --native        only the addon (compiles again whatever has changed)
  --ts            only the TypeScript
  -h, --help      this text

Environment:
  LIBTORCH           a libtorch to use (${rangeText}): the folder that holds include/ and lib/
  PYTHON             the Python to look for torch in, and to run pip with
  CXX                the C++ compiler
  REID_NATIVE_CACHE  where a downloaded libtorch ${PIN} is kept (default: ~/.cache/reid-native)
`;

/** @param {string[]} args */
function parse(args) {
  const options = { variant: undefined, relocate: false, npm: true, native: true, ts: true, force: false };
  const only = { '--build': ['native', 'ts'], '--native': ['native'], '--ts': ['ts'] };
  for (const arg of args) {
    if (arg === '--cpu' || arg === '--cuda') options.variant = arg.slice(2);
    else if (arg === '--relocate') options.relocate = true;
    else if (arg in only) {
      Object.assign(options, { npm: false, native: false, ts: false, force: arg === '--native' });
      for (const part of only[arg]) options[part] = true;
    } else if (arg === '-h' || arg === '--help') {
      process.stdout.write(HELP);
      process.exit(0);
    } else throw new SetupError(`unknown option ${arg}`, { fix: ['npm run setup -- --help'] });
  }
  return options;
}

function checkHost() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 17)) {
    throw new SetupError('Node.js 20.17 or newer is needed', { found: [`Node.js ${process.version}`] });
  }
  if (process.platform === 'win32') {
    throw new SetupError('Windows is not supported', { fix: ['wsl --install   (and run it there)'] });
  }
}

/** The libtorch chosen by an earlier run, if it is still there and nothing asks for another. */
function chosenBefore({ variant, relocate }) {
  const record = readRecord(root);
  if (relocate || !record || process.env.LIBTORCH) return null;
  if (variant !== undefined && record.variant !== variant) return null;
  const moved = record.source === 'cache' && !resolve(record.root).startsWith(cacheFolder());
  const found = inspect(record.root);
  return found.ok && !moved ? { ...found.libtorch, source: record.source, python: record.python } : null;
}

function findPythons(names) {
  const found = names.map((name) => probePython(name)).filter((python) => python !== null);
  return found.filter(
    (python, i) => found.findIndex((other) => other.executable === python.executable) === i,
  );
}

async function locateLibtorch(options, steps) {
  const before = chosenBefore(options);
  if (before) return before;
  let pythons;
  const usual = () => {
    pythons ??= findPythons(pythonNames().slice(0, process.env.PYTHON ? 3 : 2));
    return pythons;
  };
  const install = (variant) => {
    steps.note(`downloading libtorch ${PIN} (${variant}) with pip into ${cacheFolder()}`);
    const all = choosePython(usual()) ? usual() : findPythons(pythonNames());
    return pipInstall({
      variant,
      folder: cacheFolder(),
      pythons: all,
      onProgress: (text) => steps.progress(text),
    });
  };
  const gpu = existsSync('/dev/nvidia0') || probe('nvidia-smi', ['-L']).text.startsWith('GPU ');
  const machine = {
    env: process.env,
    variant: options.variant,
    gpu,
    pythons: usual,
    inspect,
    cached,
    install,
  };
  const found = await locate(machine);
  return { ...found, python: choosePython(usual())?.command ?? usual()[0]?.command };
}

/** Whether libtorch can be had: there, or a Python with pip to fetch it. */
function checkLibtorch(options) {
  if (process.env.LIBTORCH || chosenBefore(options) || cached().length > 0) return;
  const pythons = findPythons(pythonNames());
  if (!pythons.some(({ torch }) => torch !== null)) requirePython(pythons);
}

/** Everything that the compile will need, so that a newcomer hears of all of it before anything is downloaded. */
function checkTools(options) {
  const errors = [];
  const checks = [
    () => findCompiler(),
    () => findCmake(),
    () => findBuildTool(),
    () => checkLibtorch(options),
    () => checkDisk(nativePaths(root).build, 2 ** 29, 'the build', `free some on the disk of ${root}`),
  ];
  for (const check of checks) {
    try {
      check();
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      errors.push(error);
    }
  }
  if (errors.length > 0) throw joinErrors(errors);
}

async function setup(options, steps) {
  checkHost();
  // Only a build that is certain to be needed is checked for up front: a built tree needs no compiler.
  if (options.native && !existsSync(nativePaths(root).addon)) checkTools(options);

  if (options.npm) {
    steps.begin('npm packages');
    const reason = npmReason(root);
    if (reason) {
      checkDisk(root, 2 ** 30, 'the npm packages', `free some on the disk of ${root}`);
      steps.progress(`(${reason}) npm ci`);
      await npmInstall(root, (text) => steps.progress(text));
    }
    steps.end(reason ? 'installed' : 'up to date');
  }
  if (options.native) {
    if (!existsSync(join(root, 'node_modules')) && existsSync(join(root, 'package-lock.json'))) {
      throw new SetupError('the npm packages are not installed', { fix: ['npm run setup'] });
    }
    steps.begin('libtorch');
    const libtorch = await locateLibtorch(options, steps);
    steps.end(`${libtorch.version} (${libtorch.variant}) at ${libtorch.root}`);

    steps.begin('addon');
    const hash = nativeHash(root, libtorch);
    const current = !options.force && nativeUpToDate(root, hash);
    if (!current) {
      checkTools(options);
      await buildNative(root, libtorch, {
        onProgress: (text) => steps.progress(text),
        onNote: (text) => steps.note(text),
      });
      stampNative(root, hash);
    }
    writeRecord(root, libtorch);
    steps.end(current ? 'up to date' : 'built');
  }
  if (options.ts && existsSync(join(root, 'tsconfig.json'))) {
    steps.begin('TypeScript');
    const hash = typescriptHash(root);
    const current = typescriptUpToDate(root, hash);
    if (!current) {
      steps.progress('compiling');
      await buildTypescript(root);
      stampTypescript(root, hash);
    }
    steps.end(current ? 'up to date' : 'compiled');
  }
}

let steps;
try {
  const options = parse(process.argv.slice(2));
  steps = new Steps((options.npm ? 1 : 0) + (options.native ? 2 : 0) + (options.ts ? 1 : 0));
  const waiting = (pid) => process.stdout.write(`waiting for the set-up that runs as process ${pid}\n`);
  await withLock(nativePaths(root).build, () => setup(options, steps), waiting);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  steps?.fail();
  process.stderr.write(`\n${error.format()}\n`);
  process.exitCode = 1;
}
