import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder. This file runs as dist/test/support/paths.js, three folders below it. */
export const repoRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

/** Full path of a committed reference file, `test/golden/<name>`. */
export function goldenPath(name: string): string {
  return join(repoRoot, 'test/golden', name);
}

/** How to start a Python in which `import torch` works: spread `env` over the child's environment. */
export interface PythonTorch {
  command: string;
  env: NodeJS.ProcessEnv;
}

// Looks without importing: `import torch` costs more than a second, and every test file asks.
const PROBE = `
import glob, importlib.util as u, os, sys, sysconfig
spec = u.find_spec('torch')
ok = spec is not None and spec.origin is not None
if ok:
    ok = os.path.exists(os.path.join(os.path.dirname(spec.origin), '_C' + sysconfig.get_config_var('EXT_SUFFIX')))
ok = ok and u.find_spec('numpy') is not None and u.find_spec('typing_extensions') is not None
sys.exit(0 if ok else 1)
`;

let cached: { value: PythonTorch | undefined } | undefined;

/**
 * A Python that imports the very torch whose libtorch the addon was built on (and numpy), or undefined where
 * there is none: such tests skip, saying `pythonTorchMissing`.
 */
export function pythonTorch(): PythonTorch | undefined {
  cached ??= { value: findPythonTorch() };
  return cached.value;
}

export const pythonTorchMissing =
  'no Python that imports the torch the addon was built on, with numpy (pip install numpy typing_extensions)';

function findPythonTorch(): PythonTorch | undefined {
  const recorded = join(repoRoot, 'build/libtorch.json');
  if (!existsSync(recorded)) return undefined;
  const { root, python } = JSON.parse(readFileSync(recorded, 'utf8')) as { root: string; python?: string };
  const env: NodeJS.ProcessEnv = { ...process.env, PYTHONPATH: dirname(root), PYTHONDONTWRITEBYTECODE: '1' };
  for (const command of [process.env.PYTHON, python, 'python3', 'python']) {
    if (command && spawnSync(command, ['-c', PROBE], { env, stdio: 'ignore' }).status === 0)
      return { command, env };
  }
  return undefined;
}
