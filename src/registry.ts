import { nearest } from './nearest.js';

/**
 * Names that a configuration may use, and what they stand for: the way users extend the toolbox. Register a
 * class or a function, then write its name in the YAML file.
 *
 * ```ts
 * DATASET_REGISTRY.register('MyShop', MyShop);   // DATASETS.NAMES: ("MyShop",)
 * ```
 */
export class Registry<T> {
  /** What the registry holds, in the singular ("dataset"), for messages. */
  readonly kind: string;
  readonly #entries = new Map<string, T>();

  constructor(kind: string) {
    this.kind = kind;
  }

  /**
   * Adds `value` under `name` and returns it. Throws when the name is taken: two parts that silently replace
   * each other are worse than an error at start-up.
   */
  register<V extends T>(name: string, value: V): V {
    if (this.#entries.has(name)) {
      throw new Error(`a ${this.kind} named '${name}' is already registered; choose another name`);
    }
    this.#entries.set(name, value);
    return value;
  }

  /** The value registered under `name`; throws an Error that lists the registered names and the nearest. */
  get(name: string): T {
    const value = this.#entries.get(name);
    if (value === undefined) throw new Error(this.#unknown(name));
    return value;
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Registered names, in the order of registration. */
  names(): string[] {
    return [...this.#entries.keys()];
  }

  #unknown(name: string): string {
    const names = this.names();
    const guess = nearest(name, names);
    const hint = guess === undefined ? '' : ` Did you mean '${guess}'?`;
    const known = names.length > 0 ? names.join(', ') : 'none';
    return `unknown ${this.kind} '${name}'.${hint} Registered: ${known}`;
  }
}
