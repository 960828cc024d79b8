import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { repoRoot } from './paths.js';

/** Imports `scripts/<path>`, which is plain JavaScript and not compiled, as the type that the test gives it. */
export async function importScript<T>(path: string): Promise<T> {
  return (await import(pathToFileURL(join(repoRoot, 'scripts', path)).href)) as T;
}

/** A new folder holding `files` (by path; the values are their contents), removed when the test is over. */
export function temporaryFolder(
  test: { after(fn: () => void): void },
  files: Readonly<Record<string, string>> = {},
): string {
  const folder = mkdtempSync(join(tmpdir(), 'reid-native-test-'));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const [path, contents] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), contents);
  }
  return folder;
}

export interface FakeLibtorch {
  version?: string;
  local?: string;
  cuda?: string;
  without?: readonly string[];
}

/** The files of a libtorch as far as the set-up looks at them, for `temporaryFolder`. */
export function fakeLibtorch(prefix: string, options: FakeLibtorch = {}): Record<string, string> {
  const { version = '2.13.0', local, cuda, without = [] } = options;
  const [major, minor, patch] = version.split('.');
  const libraries = ['torch', 'torch_cpu', 'c10', ...(cuda ? ['torch_cuda', 'c10_cuda'] : [])];
  const suffix = process.platform === 'darwin' ? 'dylib' : 'so';
  const header = `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`;
  const named = local ? `${version}+${local}` : version;
  const files: Record<string, string> = {
    'include/ATen/ATen.h': '',
    'include/torch/headeronly/version.h': header,
    'version.py': `__version__ = '${named}'\ncuda: Optional[str] = ${cuda ? `'${cuda}'` : 'None'}\n`,
  };
  for (const library of libraries) files[`lib/lib${library}.${suffix}`] = '';
  const kept = Object.entries(files).filter(([path]) => !without.some((part) => path.includes(part)));
  return Object.fromEntries(kept.map(([path, contents]) => [join(prefix, path), contents]));
}
