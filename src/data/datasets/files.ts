import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';

/** Whether a file's name says that it is a picture. */
export function isPicture(name: string): boolean {
  return /\.(jpe?g|png|bmp|webp|gif|tiff?|avif)$/i.test(name);
}

/**
 * Paths of all files below `folder`, relative to it with `/` between their parts, sorted by code point. Links to folders
 * are followed, save to one that the link is in.
 */
export function filesBelow(folder: string): string[] {
  const files: string[] = [];
  const visit = (prefix: string, above: readonly string[]): void => {
    const real = realpathSync.native(join(folder, prefix));
    if (above.includes(real)) return;
    for (const entry of readdirSync(real, { withFileTypes: true })) {
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      const below = entry.isDirectory() || (entry.isSymbolicLink() && isFolder(join(folder, path)));
      if (below) visit(path, [...above, real]);
      else files.push(path);
    }
  };
  visit('', []);
  return files.sort();
}

function isFolder(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The lines of a text file that are not empty, with their numbers (from 1), without blanks at their ends. */
export function numberedLines(path: string): { line: string; number: number }[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .map((line, i) => ({ line: line.trim(), number: i + 1 }))
    .filter(({ line }) => line !== '');
}
