import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { ConfigError } from './errors.js';
import { decodeString } from './literal.js';
import { RawLeaf, type RawTree } from './raw.js';
import { BASE_KEY } from './section.js';
import { readYaml, toPyValue, YamlMapping } from './yaml.js';

/**
 * A YAML file together with everything it inherits through `_BASE_`, which may be absolute, begin with `~`, or be
 * relative to the file that names it. The nearer file wins, key by key.
 * @throws ConfigError: unreadable file, a circle of `_BASE_`, an address on the web, a section put over a value
 */
export function loadYamlFile(file: string): RawTree {
  return load(file, []);
}

function load(file: string, above: readonly string[]): RawTree {
  const full = resolve(file);
  const chain = [...above, full];
  if (above.includes(full)) {
    throw new ConfigError(`${BASE_KEY} goes round in a circle: ${chain.join(' -> ')}`, BASE_KEY, file);
  }
  const { entries } = readYaml(file);
  const base = entries.get(BASE_KEY);
  entries.delete(BASE_KEY);
  const own = toRaw(entries, file);
  if (base === undefined) return own;
  if (typeof base !== 'string' || base === '') {
    throw new ConfigError(`${BASE_KEY} (from ${file}) must be the name of a file`, BASE_KEY, file);
  }
  return override(load(basePath(base, file), chain), own, '');
}

function basePath(base: string, file: string): string {
  if (/^https?:\/\//.test(base)) {
    throw new ConfigError(
      `${BASE_KEY}: ${base} (from ${file}) is on the web; download it and name the local file`,
      BASE_KEY,
      file,
    );
  }
  if (base === '~' || base.startsWith('~/')) return join(homedir(), base.slice(1));
  return isAbsolute(base) ? base : join(dirname(file), base);
}

function toRaw(entries: YamlMapping['entries'], origin: string): RawTree {
  const tree: RawTree = new Map();
  for (const [key, node] of entries) {
    if (node instanceof YamlMapping) tree.set(key, toRaw(node.entries, origin));
    else if (typeof node === 'string') tree.set(key, new RawLeaf(decodeString(node), origin, node));
    else tree.set(key, new RawLeaf(toPyValue(node), origin));
  }
  return tree;
}

/** Lays `own` over `base`, in place. */
function override(base: RawTree, own: RawTree, path: string): RawTree {
  for (const [key, item] of own) {
    const below = base.get(key);
    const full = path ? `${path}.${key}` : key;
    const empty = item instanceof RawLeaf && item.py.kind === 'none';
    // A section whose lines are all commented out leaves the base's as it is.
    if (empty && below && !(below instanceof RawLeaf)) continue;
    if (item instanceof RawLeaf || below === undefined) base.set(key, item);
    else if (below instanceof RawLeaf) {
      if (below.py.kind !== 'none') {
        throw new ConfigError(`${full} is a section here but a value in ${below.origin}`, full, below.origin);
      }
      base.set(key, item);
    } else override(below, item, full);
  }
  return base;
}
