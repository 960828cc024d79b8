import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { type AnyModule, Module } from './module.js';
import { assemble, indent, printChild } from './printing.js';

/** A module that takes one tensor and gives one. */
export type TensorModule = Module<[Tensor], Tensor>;

/**
 * Calls modules one after the other, each with the result of the one before, which is let go as soon as the next is
 * there; in a loop, all of them would live until the caller's scope ends.
 */
export function chain(input: Tensor, modules: Iterable<TensorModule>): Tensor {
  let run = (): Tensor => input;
  for (const module of modules) {
    const before = run;
    run = () => scope(() => module.call(before()));
  }
  return run();
}

/** What containers share: children by name in a map of their own, in the order in which they were added. */
abstract class Container<M extends AnyModule, A extends unknown[], R> extends Module<A, R> {
  readonly #children = new Map<string, M>();

  protected get map(): Map<string, M> {
    return this.#children;
  }

  override *ownModules(): Iterable<[string, AnyModule]> {
    yield* this.#children;
    yield* super.ownModules();
  }

  override addModule(name: string, module: AnyModule): void {
    if (name === '' || name.includes('.')) {
      throw new Error(`'${name}' cannot name a module: names are not empty and have no dot`);
    }
    if (!(module instanceof Module)) throw new TypeError(`${this.typeName}: '${name}' is not a Module`);
    this.#children.set(name, module as M);
  }

  /** Number of children. */
  get length(): number {
    return this.#children.size;
  }
}

/** Children numbered from 0. */
abstract class NumberedContainer<M extends AnyModule, A extends unknown[], R> extends Container<M, A, R> {
  /** The child at an index; negative ones count from the end. */
  at(index: number): M {
    const child = [...this.map.values()].at(index);
    if (child === undefined)
      throw new RangeError(`${this.typeName}: index ${index} is out of range (length ${this.length})`);
    return child;
  }

  append(module: M): this {
    this.addModule(String(this.length), module);
    return this;
  }

  extend(modules: Iterable<M>): this {
    for (const module of modules) this.append(module);
    return this;
  }

  /** Puts another module in the place of one. */
  replace(index: number, module: M): void {
    this.at(index);
    const name = [...this.map.keys()].at(index);
    if (name !== undefined) this.addModule(name, module);
  }

  [Symbol.iterator](): IterableIterator<M> {
    return this.map.values();
  }
}

/** Modules called one after the other, each with the result of the one before. */
export class Sequential extends NumberedContainer<TensorModule, [Tensor], Tensor> {
  /** From modules (named '0', '1', …), or from one map of names to modules. */
  constructor(...modules: TensorModule[] | [ReadonlyMap<string, TensorModule>]) {
    super();
    const [first] = modules;
    if (first instanceof Map) {
      for (const [name, module] of first) this.addModule(name, module);
    } else {
      this.extend(modules as TensorModule[]);
    }
  }

  protected forward(input: Tensor): Tensor {
    return chain(input, this.map.values());
  }
}

/** A list of modules, to be used by the module that holds it; it cannot be called itself. */
export class ModuleList<M extends AnyModule = TensorModule> extends NumberedContainer<M, never, never> {
  constructor(modules: Iterable<M> = []) {
    super();
    this.extend(modules);
  }

  protected forward(): never {
    throw new Error('a ModuleList cannot be called: call its modules');
  }

  /** As PyTorch prints it: equal neighbours once, with their number. */
  override printWithin(above: readonly AnyModule[]): string {
    const texts = [...this.map.values()].map((child) => printChild(child, this, above));
    const lines: string[] = [];
    for (let start = 0; start < texts.length; ) {
      let end = start;
      while (texts[end + 1] === texts[start]) end++;
      const label = start === end ? `(${start}): ` : `(${start}-${end}): ${end - start + 1} x `;
      lines.push(indent(`${label}${texts[start]}`));
      start = end + 1;
    }
    return assemble(this.typeName, [], lines);
  }
}

/** Modules by name, to be used by the module that holds it; it cannot be called itself. */
export class ModuleDict<M extends AnyModule = TensorModule> extends Container<M, never, never> {
  constructor(modules: ReadonlyMap<string, M> | Record<string, M> = {}) {
    super();
    const entries: Iterable<[string, M]> = modules instanceof Map ? modules : Object.entries(modules);
    for (const [name, module] of entries) this.addModule(name, module);
  }

  protected forward(): never {
    throw new Error('a ModuleDict cannot be called: call its modules');
  }

  /** The module of a name. An unknown name is an error; see {@link has}. */
  get(name: string): M {
    const module = this.map.get(name);
    if (module === undefined) {
      throw new Error(`ModuleDict: no '${name}'; it has: ${[...this.map.keys()].join(', ') || 'none'}`);
    }
    return module;
  }

  has(name: string): boolean {
    return this.map.has(name);
  }

  set(name: string, module: M): this {
    this.addModule(name, module);
    return this;
  }

  delete(name: string): boolean {
    return this.map.delete(name);
  }

  keys(): IterableIterator<string> {
    return this.map.keys();
  }

  values(): IterableIterator<M> {
    return this.map.values();
  }

  entries(): IterableIterator<[string, M]> {
    return this.map.entries();
  }

  [Symbol.iterator](): IterableIterator<[string, M]> {
    return this.map.entries();
  }
}
