import { coerce } from './coerce.js';
import { ConfigError, fromWhere, nearestPath } from './errors.js';
import type { PyKind, PyValue } from './pyvalue.js';
import { isPlainObject, samePy, toPlain } from './pyvalue.js';
import { pyFor, RawLeaf, type RawTree, rawFromDict } from './raw.js';

/** Names the file a file inherits from; not a key of the tree. */
export const BASE_KEY = '_BASE_';
const COMPUTED = 'COMPUTED_';

/** One value of the tree: the Python value, its JavaScript view, and the kind the key was defined with. */
export interface Leaf {
  readonly py: PyValue;
  readonly plain: unknown;
  readonly kind: PyKind;
}

interface Change {
  readonly section: Section;
  readonly key: string;
  readonly py: PyValue;
}

/** The tree behind a `CfgNode`: keys, types, freezing and merging; `CfgNode` is the face shown to users. */
export class Section {
  /** Full path, '' for the root. */
  path = '';
  frozen = false;
  parent: Section | undefined;
  readonly entries = new Map<string, Leaf | Section>();

  root(): Section {
    return this.parent ? this.parent.root() : this;
  }

  join(key: string): string {
    return this.path ? `${this.path}.${key}` : key;
  }

  /** Paths of all values below, and of the sections too if asked for, relative to this section. */
  paths(withSections = false): string[] {
    const all: string[] = [];
    for (const [key, entry] of this.entries) {
      if (!(entry instanceof Section)) all.push(key);
      else {
        if (withSections) all.push(key);
        all.push(...entry.paths(withSections).map((path) => `${key}.${path}`));
      }
    }
    return all;
  }

  find(path: string): Leaf | Section | undefined {
    let entry: Leaf | Section | undefined = this;
    for (const part of path.split('.')) {
      if (!(entry instanceof Section)) return undefined;
      entry = entry.entries.get(part);
    }
    return entry;
  }

  /** @throws ConfigError when nothing is at the path */
  require(path: string): Leaf | Section {
    const entry = this.find(path);
    if (!entry) throw this.unknownKey(path);
    return entry;
  }

  unknownKey(key: string, origin?: string): ConfigError {
    const path = this.join(key);
    const root = this.root();
    const nearest = nearestPath(
      path,
      root.paths(true).map((known) => root.join(known)),
    );
    const help = nearest ? `; did you mean ${nearest}?` : '';
    return new ConfigError(`no such configuration key: ${path}${fromWhere(origin)}${help}`, path, origin);
  }

  /** Adds a key with its default, or a section of them. */
  define(key: string, value: unknown): void {
    const path = this.join(key);
    this.refuseIfFrozen(key);
    if (this.entries.has(key)) throw new ConfigError(`${path} is defined already`, path);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key) || key === BASE_KEY) {
      throw new ConfigError(`${path}: a key is made of letters, digits and _, and is not ${BASE_KEY}`, path);
    }
    if (isPlainObject(value)) {
      const section = new Section();
      this.adopt(key, section);
      for (const [name, item] of Object.entries(value)) section.define(name, item);
    } else if (value instanceof Section) {
      this.adopt(key, value.copy());
    } else {
      const py = pyFor(value, path);
      this.entries.set(key, { py, plain: toPlain(py), kind: py.kind });
    }
  }

  /** Assignment from code: strings are taken as they are, not read as literals. */
  assign(key: string, value: unknown): void {
    const path = this.join(key);
    const entry = this.entries.get(key);
    if (entry instanceof Section) {
      throw new ConfigError(`${path} is a section: set its keys one by one, or use mergeFromOther`, path);
    }
    const py = pyFor(value, path);
    this.set({ section: this, key, py: this.checked(key, new RawLeaf(py)) });
  }

  /** Merges a tree of values; nothing changes unless all of it fits. */
  merge(tree: RawTree): void {
    const changes: Change[] = [];
    this.plan(tree, changes);
    for (const change of changes) this.set(change);
  }

  /** A deep copy with its own root, not frozen, that keeps naming the full path of the original. */
  copy(): Section {
    const copy = new Section();
    copy.path = this.path;
    for (const [key, entry] of this.entries) {
      if (entry instanceof Section) copy.adopt(key, entry.copy());
      else copy.entries.set(key, entry);
    }
    return copy;
  }

  setFrozen(frozen: boolean): void {
    this.frozen = frozen;
    for (const entry of this.entries.values()) {
      if (entry instanceof Section) entry.setFrozen(frozen);
    }
  }

  toObject(): Record<string, unknown> {
    const pairs = [...this.entries].map(([key, entry]) => [
      key,
      entry instanceof Section ? entry.toObject() : entry.plain,
    ]);
    return Object.fromEntries(pairs);
  }

  /** This section as a tree of values to merge elsewhere. */
  toRaw(origin?: string): RawTree {
    return new Map(
      [...this.entries].map(([key, entry]) => [
        key,
        entry instanceof Section ? entry.toRaw(origin) : new RawLeaf(entry.py, origin),
      ]),
    );
  }

  private adopt(key: string, section: Section): void {
    section.parent = this;
    section.place(this.join(key));
    this.entries.set(key, section);
  }

  private place(path: string): void {
    this.path = path;
    for (const [key, entry] of this.entries) {
      if (entry instanceof Section) entry.place(`${path}.${key}`);
    }
  }

  private plan(tree: RawTree, changes: Change[]): void {
    for (const [key, item] of tree) {
      const path = this.join(key);
      const origin = originOf(item);
      if (key === BASE_KEY) {
        throw new ConfigError(
          `the key ${BASE_KEY} can only be used at the top of a file${fromWhere(origin)}`,
          path,
        );
      }
      const entry = this.entries.get(key);
      if (!entry && !(key.startsWith(COMPUTED) && item instanceof RawLeaf))
        throw this.unknownKey(key, origin);
      if (entry instanceof Section) entry.planSection(item, changes);
      else if (item instanceof RawLeaf) changes.push({ section: this, key, py: this.checked(key, item) });
      else
        throw new ConfigError(
          `${path} is a value, but was given a section${fromWhere(origin)}`,
          path,
          origin,
        );
    }
  }

  private planSection(item: RawTree | RawLeaf, changes: Change[]): void {
    if (!(item instanceof RawLeaf)) this.plan(item, changes);
    else if (item.py.kind === 'dict') this.plan(rawFromDict(item.py, item.origin), changes);
    else if (item.py.kind !== 'none') {
      // (A section whose lines are all commented out reads as None, and changes nothing.)
      throw new ConfigError(
        `${this.path} is a section, but was given the ${item.py.kind} ${item.text ?? String(toPlain(item.py))}` +
          `${fromWhere(item.origin)}; its keys are ${[...this.entries.keys()].join(', ')}`,
        this.path,
        item.origin,
      );
    }
  }

  /** The value fitted to its key. @throws ConfigError: unknown, frozen, wrong type, or computed twice */
  private checked(key: string, { py, text, origin }: RawLeaf): PyValue {
    const path = this.join(key);
    const entry = this.entries.get(key) as Leaf | undefined;
    if (key.startsWith(COMPUTED)) {
      if (!entry || samePy(entry.py, py)) return py;
      throw new ConfigError(
        `${path} is computed and already has another value${fromWhere(origin)}`,
        path,
        origin,
      );
    }
    if (!entry) throw this.unknownKey(key, origin);
    this.refuseIfFrozen(key, origin);
    return coerce(py, entry.kind, path, origin, text);
  }

  private refuseIfFrozen(key: string, origin?: string): void {
    if (!this.frozen) return;
    const path = this.join(key);
    throw new ConfigError(
      `${path} cannot be set${fromWhere(origin)}: the configuration is frozen; change a copy, cfg.clone().defrost()`,
      path,
      origin,
    );
  }

  private set({ section, key, py }: Change): void {
    const before = section.entries.get(key) as Leaf | undefined;
    section.entries.set(key, { py, plain: toPlain(py), kind: before?.kind ?? py.kind });
  }
}

function originOf(item: RawTree | RawLeaf): string | undefined {
  if (item instanceof RawLeaf) return item.origin;
  for (const inner of item.values()) {
    const origin = originOf(inner);
    if (origin) return origin;
  }
  return undefined;
}
