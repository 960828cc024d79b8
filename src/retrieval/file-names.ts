import { basename, join, parse } from 'node:path';

/** `folder/007-name.png` for the picture about `path`: numbered, so that a folder lists them in order. */
export function numberedName(folder: string, index: number, count: number, path: string): string {
  const number = String(index + 1).padStart(String(count).length, '0');
  const name = parse(basename(path))
    .name.replace(/[^\p{L}\p{N}._-]+/gu, '_')
    .slice(0, 80);
  return join(folder, `${number}-${name}.png`);
}
