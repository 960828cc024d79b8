// Knowing what is already done: by the contents of what went in, never by modification times.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** Every file under `folder` whose name `accept`s, sorted; an absent folder has none. */
export function filesUnder(folder, accept = () => true) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && accept(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/**
 * A hash of files (name and contents) and of further facts.
 * @param {string} root names are taken relative to it, so that a moved folder keeps its hash
 * @param {string[]} files absolute paths
 * @param {unknown} facts anything JSON can write
 */
export function contentHash(root, files, facts = null) {
  const hash = createHash('sha256').update(JSON.stringify(facts));
  for (const file of files) {
    const bytes = readFileSync(file);
    hash.update(`\0${relative(root, file)}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

export function readStamp(file) {
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
}

export function writeStamp(file, hash) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${hash}\n`);
}

/**
 * Why installed packages do not match the lock file, or null if they do. Optional packages (another platform's
 * binaries) may be absent.
 * @param {{packages?: Record<string, {version?: string, optional?: boolean, devOptional?: boolean, peer?: boolean, link?: boolean}>}} lock
 *   package-lock.json
 * @param {{packages?: Record<string, {version?: string}>} | null} installed node_modules/.package-lock.json
 */
export function packagesStale(lock, installed) {
  if (!installed) return 'not installed yet';
  for (const [path, wanted] of Object.entries(lock.packages ?? {})) {
    if (path === '' || wanted.link) continue;
    const name = path.replace(/^.*node_modules\//, '');
    const found = installed.packages?.[path];
    if (!found) {
      if (wanted.optional || wanted.devOptional || wanted.peer) continue;
      return `${name} is missing`;
    }
    if (found.version !== wanted.version)
      return `${name} is ${found.version}, package-lock.json has ${wanted.version}`;
  }
  return null;
}
