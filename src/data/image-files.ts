import { statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { globSync, isDynamicPattern } from 'tinyglobby';
import { filesBelow, isPicture, numberedLines } from './datasets/files.js';

/** A picture's file, with whose it is and from which camera where a list says so. */
export interface ListedImage {
  readonly path: string;
  readonly identity?: string;
  readonly camera?: string;
}

/**
 * The picture files that are meant by names on a command line, in the order of the names: a file stands for itself, a
 * folder for all pictures below it, sorted, and a pattern (`shots/**\/*.jpg`) for the pictures that match, sorted.
 *
 * Throws, naming it, for what does not exist or holds no pictures.
 */
export function findImages(names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const stat = statSync(name, { throwIfNoEntry: false });
    if (stat?.isFile()) return [name];
    if (stat?.isDirectory()) {
      const found = filesBelow(name).filter(isPicture);
      if (found.length === 0) throw new Error(`${name}: there are no pictures in this folder or below`);
      return found.map((path) => join(name, path));
    }
    if (stat) throw new Error(`${name} is neither a file nor a folder`);
    if (!isDynamicPattern(name)) throw new Error(`${name} does not exist`);
    const found = globSync(name, { expandDirectories: false, absolute: isAbsolute(name) })
      .filter(isPicture)
      .sort();
    if (found.length === 0) throw new Error(`${name}: no picture matches this pattern`);
    return found;
  });
}

/**
 * Reads a list of pictures: a line each, its path, and behind tabs its identity and its camera, which all lines have
 * or none. Paths are relative to the current folder. Lines that begin with `#` are left out.
 *
 * Throws, naming file and line, when a picture does not exist or lines disagree about what they say.
 */
export function readImageList(file: string): ListedImage[] {
  const lines = numberedLines(file).filter(({ line }) => !line.startsWith('#'));
  if (lines.length === 0) throw new Error(`${file}: there are no pictures in this list`);
  const columns = lines[0].line.split('\t').length;
  return lines.map(({ line, number }) => {
    const fields = line.split('\t').map((field) => field.trim());
    const where = `${file}, line ${number}`;
    if (fields.length > 3)
      throw new Error(`${where}: expected path, identity and camera, got ${fields.length} fields`);
    if (fields.length !== columns) {
      throw new Error(
        `${where} has ${fields.length} fields, the first line ${columns}; fields are parted by tabs`,
      );
    }
    if (fields.includes('')) throw new Error(`${where}: an empty field`);
    const [path, identity, camera] = fields;
    if (!statSync(path, { throwIfNoEntry: false })?.isFile())
      throw new Error(`${where}: ${path} is not a file`);
    return { path, identity, camera };
  });
}
