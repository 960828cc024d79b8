import { inspect, isDeepStrictEqual } from 'node:util';
import { ConfigError } from './errors.js';
import { loadYamlFile } from './files.js';
import { OUR_KEYS } from './ours.js';
import type { PyFloat, PyTupleOf, PyValue } from './pyvalue.js';
import { isPlainObject, samePy } from './pyvalue.js';
import { RawLeaf, type RawTree, rawFromPlain } from './raw.js';
import { type Leaf, Section } from './section.js';
import { type EmitTree, emitYaml } from './yaml.js';

/** Keys and defaults to build a tree from; see {@link CfgNode}. */
export type Definition = { readonly [key: string]: unknown };

/**
 * The tree a definition describes, as one reads it: `float(…)` is a number, lists and tuples are readonly arrays,
 * and every section is itself a {@link CfgNode}.
 */
export type Tree<D> = {
  [K in keyof D]: D[K] extends PyFloat
    ? number
    : D[K] extends PyTupleOf<infer E>
      ? readonly E[]
      : D[K] extends readonly (infer E)[]
        ? readonly E[]
        : D[K] extends object
          ? CfgNode & Tree<D[K]>
          : D[K];
};

// Nodes are proxies, on which private fields do not work; the tree behind lies here, under proxy and target alike.
const sections = new WeakMap<object, Section>();
const faces = new WeakMap<Section, CfgNode>();

/**
 * A tree of configuration values, in the manner of yacs: keys are read and written as properties
 * (`cfg.SOLVER.BASE_LR`), every key has the type of its default, unknown keys are errors, and the whole can be
 * frozen. Keys are made by the definition given to the constructor and by {@link define}; nothing else adds any,
 * except those whose name begins with `COMPUTED_`: these may be set at any time, even on a frozen tree, but only
 * once (setting the same value again is fine).
 *
 * Lists and tuples are frozen arrays; assign a new array to change one. None is `null`.
 * All errors are {@link ConfigError}s and name the full path.
 */
export class CfgNode {
  [key: `COMPUTED_${string}`]: unknown;

  constructor(definition: Definition | Section = {}) {
    const section = definition instanceof Section ? definition : new Section();
    const proxy = new Proxy(this, handler);
    sections.set(this, section);
    sections.set(proxy, section);
    faces.set(section, proxy);
    if (!(definition instanceof Section)) {
      for (const [key, value] of Object.entries(definition)) section.define(key, toDefinition(value));
    }
    // biome-ignore lint/correctness/noConstructorReturn: property access by key is the point of a node
    return proxy;
  }

  /** Names of the keys, in the order of their definition. */
  keys(): string[] {
    return [...sectionOf(this).entries.keys()];
  }

  /** Paths of all values below this node, relative to it. */
  paths(): string[] {
    return sectionOf(this).paths();
  }

  /** Whether there is a key or section at the path (`SOLVER.BASE_LR`). */
  has(path: string): boolean {
    return sectionOf(this).find(path) !== undefined;
  }

  /** Value or section at a path. @throws ConfigError when there is none */
  get(path: string): unknown {
    return read(sectionOf(this).require(path));
  }

  /** The Python value at a path, which tells int from float and tuple from list. @throws ConfigError */
  getPy(path: string): PyValue {
    const entry = sectionOf(this).require(path);
    if (entry instanceof Section)
      throw new ConfigError(`${entry.path} is a section, not a value`, entry.path);
    return entry.py;
  }

  /** Sets the value at a path, as assignment to the property does. @throws ConfigError */
  set(path: string, value: unknown): this {
    const dot = path.lastIndexOf('.');
    const parent = dot < 0 ? sectionOf(this) : sectionOf(this).find(path.slice(0, dot));
    if (!(parent instanceof Section)) throw sectionOf(this).unknownKey(path);
    parent.assign(path.slice(dot + 1), value);
    return this;
  }

  /**
   * Adds a key or a whole section, the way a project extends the configuration:
   * `cfg.define('MODEL.HEADS.PFC', { ENABLED: false, SAMPLE_RATE: 0.1 })`. The section it goes into must exist.
   * @throws ConfigError when the key exists already or the tree is frozen
   */
  define(path: string, value: unknown): this {
    const dot = path.lastIndexOf('.');
    const parent = dot < 0 ? sectionOf(this) : sectionOf(this).require(path.slice(0, dot));
    if (!(parent instanceof Section))
      throw new ConfigError(`${path.slice(0, dot)} is a value, not a section`, path);
    parent.define(path.slice(dot + 1), toDefinition(value));
    return this;
  }

  /**
   * Merges a YAML file. A key `_BASE_` names the file it inherits from: absolute, `~/…`, or relative to the file
   * itself. Nothing changes unless all of it fits.
   */
  mergeFromFile(file: string): this {
    sectionOf(this).merge(loadYamlFile(file));
    return this;
  }

  /**
   * Merges `[key, value, key, value, …]`, such as the command line's overrides. Strings are read as Python literals;
   * of a key given twice, the last value counts.
   * @param origin named in errors
   */
  mergeFromList(list: readonly unknown[], origin = 'overrides'): this {
    if (list.length % 2 !== 0) {
      const last = String(list.at(-1));
      throw new ConfigError(`overrides come in pairs KEY VALUE, but ${last} has no value`, last, origin);
    }
    const scratch = sectionOf(this).copy();
    scratch.setFrozen(this.isFrozen());
    const trees: RawTree[] = [];
    for (let i = 0; i < list.length; i += 2) {
      let tree: RawTree | RawLeaf = rawFromPlain(list[i + 1], sectionOf(this).join(String(list[i])), origin);
      for (const part of String(list[i]).split('.').reverse()) tree = new Map([[part, tree]]);
      scratch.merge(tree as RawTree);
      trees.push(tree as RawTree);
    }
    // Every pair fits, so that now all of them can be merged without leaving half of the work done.
    for (const tree of trees) sectionOf(this).merge(tree);
    return this;
  }

  /** Merges another node, or a plain object whose strings are read as Python literals. */
  mergeFromOther(other: CfgNode | Definition, origin?: string): this {
    const tree =
      other instanceof CfgNode
        ? sectionOf(other).toRaw(origin)
        : rawFromPlain(other, sectionOf(this).path, origin);
    if (tree instanceof RawLeaf) throw new ConfigError('mergeFromOther takes a node or a plain object');
    sectionOf(this).merge(tree);
    return this;
  }

  /** A deep copy, frozen if this is. */
  clone(): this {
    const copy = sectionOf(this).copy();
    copy.setFrozen(this.isFrozen());
    return faceOf(copy) as this;
  }

  /** Forbids changes, here and below. */
  freeze(): this {
    sectionOf(this).setFrozen(true);
    return this;
  }

  /** Allows changes again, here and below. */
  defrost(): this {
    sectionOf(this).setFrozen(false);
    return this;
  }

  isFrozen(): boolean {
    return sectionOf(this).frozen;
  }

  /**
   * The tree as YAML that FastReID reads back: tuples as Python literals, floats with a point. Keys that
   * FastReID does not know are left out while they are at their default.
   */
  dump(): string {
    return emitYaml(emitTree(sectionOf(this)));
  }

  /** As {@link dump}, but only what differs from `base`. Merged into `base`, it gives this tree. */
  dumpDiff(base: CfgNode): string {
    return emitYaml(emitTree(sectionOf(this), sectionOf(base)));
  }

  /** Plain nested objects; arrays are frozen, None is `null`. */
  toObject(): Record<string, unknown> {
    return sectionOf(this).toObject();
  }

  toJSON(): Record<string, unknown> {
    return this.toObject();
  }

  toString(): string {
    return this.dump();
  }

  [inspect.custom](): Record<string, unknown> {
    return this.toObject();
  }
}

const handler: ProxyHandler<CfgNode> = {
  get(target, key, receiver) {
    if (typeof key === 'string') {
      const entry = sectionOf(target).entries.get(key);
      if (entry) return read(entry);
      // Keys are upper case by convention: a typo must not read as undefined, while `then` and the like may.
      if (/^[A-Z][A-Z0-9_]*$/.test(key)) throw sectionOf(target).unknownKey(key);
    }
    return Reflect.get(target, key, receiver);
  },
  set(target, key, value) {
    sectionOf(target).assign(String(key), value);
    return true;
  },
  has(target, key) {
    return (typeof key === 'string' && sectionOf(target).entries.has(key)) || Reflect.has(target, key);
  },
  ownKeys(target) {
    return [...sectionOf(target).entries.keys()];
  },
  getOwnPropertyDescriptor(target, key) {
    const entry = typeof key === 'string' ? sectionOf(target).entries.get(key) : undefined;
    return entry && { value: read(entry), writable: true, enumerable: true, configurable: true };
  },
  defineProperty(target, key, descriptor) {
    sectionOf(target).assign(String(key), descriptor.value);
    return true;
  },
  deleteProperty(target, key) {
    const path = sectionOf(target).join(String(key));
    throw new ConfigError(`${path} cannot be deleted: a configuration keeps its keys`, path);
  },
};

function sectionOf(node: CfgNode): Section {
  return sections.get(node) as Section;
}

function faceOf(section: Section): CfgNode {
  return faces.get(section) ?? new CfgNode(section);
}

function read(entry: Leaf | Section): unknown {
  return entry instanceof Section ? faceOf(entry) : entry.plain;
}

/** Nodes inside a definition stand for their sections. */
function toDefinition(value: unknown): unknown {
  if (value instanceof CfgNode) return sectionOf(value);
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toDefinition(item)]));
}

/** Whether FastReID would stumble over a key that says nothing new. */
function unknownToFastReid(path: string, value: unknown): boolean {
  return OUR_KEYS.has(path) && isDeepStrictEqual(OUR_KEYS.get(path), value);
}

function emitTree(section: Section, base?: Section): EmitTree {
  const tree: EmitTree = new Map();
  for (const [key, entry] of section.entries) {
    const other = base?.entries.get(key);
    if (entry instanceof Section) {
      const inner = emitTree(entry, other instanceof Section ? other : undefined);
      if (inner.size > 0 || !(other instanceof Section)) tree.set(key, inner);
    } else if (other && !(other instanceof Section) && samePy(entry.py, other.py)) {
      // Nothing new.
    } else if (!unknownToFastReid(section.join(key), entry.plain)) tree.set(key, entry.py);
  }
  return tree;
}
