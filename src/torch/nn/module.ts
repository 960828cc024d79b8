import type { Device, DeviceLike } from '../device.js';
import type { DType } from '../dtype.js';
import { scope } from '../memory.js';
import { type HookHandle, Tensor } from '../tensor.js';
import { convertModule, type ModuleTarget } from './convert.js';
import {
  type BackwardHook,
  type BackwardPreHook,
  type ForwardHook,
  type ForwardPreHook,
  type HookOptions,
  ModuleHooks,
} from './hooks.js';
import { Parameter } from './parameter.js';
import { globToRegExp, printModule } from './printing.js';
import { collectState, type LoadOptions, type LoadReport, loadState } from './state.js';

/** A module of any argument and result types. */
export type AnyModule = Module<never, unknown>;

interface Buffer {
  tensor: Tensor | null;
  persistent: boolean;
}

/**
 * Base of all layers and models. A subclass sets its parameters and sub-modules as own properties (their
 * names are the state-dict names), its buffers with {@link registerBuffer}, and defines `forward`.
 *
 * `call` is the way in: it runs the hooks and frees the intermediate tensors of `forward` (what `forward`
 * returns lives on; a tensor that it stores elsewhere must be `keep()`-ed).
 *
 * @typeParam A arguments of `forward`
 * @typeParam R its result
 */
export abstract class Module<A extends unknown[] = [Tensor], R = Tensor> {
  /** Whether the module is in training mode; see {@link train} and {@link eval}. */
  training = true;
  #buffers: Map<string, Buffer> | undefined;
  #hooks: ModuleHooks | undefined;

  protected abstract forward(...args: A): R;

  /** The name that printing and errors show: the class name. */
  get typeName(): string {
    return this.constructor.name;
  }

  /** Runs the module: forward-pre hooks, `forward` in a scope of its own, forward hooks. */
  call(...args: A): R {
    const hooks = this.#hooks;
    if (hooks === undefined || hooks.empty) return scope(() => this.forward(...args));
    return scope(() => hooks.run(this, args, (replaced) => this.forward(...(replaced as A))) as R);
  }

  // ---- members -------------------------------------------------------------------------------------

  /**
   * Declares `this[name]` as a buffer: a tensor that is state but not learnt. It moves with the module and,
   * unless `persistent` is false, is part of the state dict. A tensor later assigned to it is kept too.
   */
  registerBuffer(name: string, tensor: Tensor | null, persistent = true): void {
    checkName(name);
    this.#buffers ??= new Map();
    const buffer: Buffer = { tensor: tensor?.keep() ?? null, persistent };
    this.#buffers.set(name, buffer);
    Object.defineProperty(this, name, {
      configurable: true,
      enumerable: true,
      get: () => buffer.tensor,
      set: (value: Tensor | null) => {
        if (value !== null && !(value instanceof Tensor)) {
          throw new TypeError(`buffer '${name}' of ${this.typeName} must be a Tensor or null`);
        }
        buffer.tensor = value?.keep() ?? null;
      },
    });
  }

  /** Sets `this[name]` to a parameter (or to null: the module has none); for names known only at run time. */
  registerParameter(name: string, parameter: Parameter | null): void {
    checkName(name);
    this.#set(name, parameter);
  }

  /** Adds a sub-module under a name known only at run time. */
  addModule(name: string, module: AnyModule): void {
    checkName(name);
    if (!(module instanceof Module)) throw new TypeError(`addModule('${name}'): not a Module`);
    this.#set(name, module);
  }

  #set(name: string, value: unknown): void {
    (this as unknown as Record<string, unknown>)[name] = value;
  }

  /** Own parameters in the order of the properties. Containers may override. */
  *ownParameters(): Iterable<[string, Parameter]> {
    for (const [name, value] of Object.entries(this)) if (value instanceof Parameter) yield [name, value];
  }

  /** Own sub-modules in order, a shared one under each of its names. Containers override this. */
  *ownModules(): Iterable<[string, AnyModule]> {
    for (const [name, value] of Object.entries(this)) if (value instanceof Module) yield [name, value];
  }

  /** Own buffers in the order of registration. */
  *ownBuffers({ persistentOnly = false } = {}): Iterable<[string, Tensor]> {
    if (this.#buffers === undefined) return;
    for (const [name, { tensor, persistent }] of this.#buffers) {
      if (tensor !== null && (persistent || !persistentOnly)) yield [name, tensor];
    }
  }

  /** State-dict names (own, without prefix) that may be missing from a checkpoint without being reported. */
  optionalState(): readonly string[] {
    return [];
  }

  /** The direct sub-modules, each once. */
  *namedChildren(): Iterable<[string, AnyModule]> {
    const seen = new Set<AnyModule>();
    for (const [name, module] of this.ownModules()) {
      if (seen.has(module)) continue;
      seen.add(module);
      yield [name, module];
    }
  }

  *children(): Iterable<AnyModule> {
    for (const [, module] of this.namedChildren()) yield module;
  }

  /** This module (named '') and all below it, depth first, each once. */
  namedModules(): Iterable<[string, AnyModule]> {
    return walk(this, '', new Set());
  }

  *modules(): Iterable<AnyModule> {
    for (const [, module] of this.namedModules()) yield module;
  }

  /** All parameters with their dotted names; a shared one once, under its first name. */
  *namedParameters(): Iterable<[string, Parameter]> {
    const seen = new Set<Tensor>();
    for (const [prefix, module] of this.namedModules()) {
      for (const [name, parameter] of module.ownParameters()) {
        if (seen.has(parameter)) continue;
        seen.add(parameter);
        yield [join(prefix, name), parameter];
      }
    }
  }

  *parameters(): Iterable<Parameter> {
    for (const [, parameter] of this.namedParameters()) yield parameter;
  }

  /** All buffers, persistent or not, with their dotted names. */
  *namedBuffers(): Iterable<[string, Tensor]> {
    const seen = new Set<Tensor>();
    for (const [prefix, module] of this.namedModules()) {
      for (const [name, buffer] of module.ownBuffers()) {
        if (seen.has(buffer)) continue;
        seen.add(buffer);
        yield [join(prefix, name), buffer];
      }
    }
  }

  *buffers(): Iterable<Tensor> {
    for (const [, buffer] of this.namedBuffers()) yield buffer;
  }

  /** The module at a dotted path (`'backbone.layer4.0'`; `''` is this one). An unknown path is an error. */
  getModule(path: string): AnyModule {
    let module: AnyModule = this;
    if (path === '') return module;
    let walked = '';
    for (const part of path.split('.')) {
      const children = new Map(module.ownModules());
      const next = children.get(part);
      if (next === undefined) {
        const where = walked === '' ? module.typeName : `'${walked}' (${module.typeName})`;
        const names = [...children.keys()].join(', ') || 'none';
        throw new Error(`getModule('${path}'): ${where} has no sub-module '${part}'; it has: ${names}`);
      }
      module = next;
      walked = join(walked, part);
    }
    return module;
  }

  /**
   * The modules below this one whose dotted name matches a pattern: `*` stands for any characters of one
   * part (`backbone.layer4.*`), `**` for any number of parts (`**.conv2`), `?` for one character.
   */
  find(pattern: string): [string, AnyModule][] {
    const matcher = globToRegExp(pattern);
    const found: [string, AnyModule][] = [];
    for (const entry of this.namedModules()) if (entry[0] !== '' && matcher.test(entry[0])) found.push(entry);
    return found;
  }

  // ---- modes, placement ----------------------------------------------------------------------------

  /** Sets training mode (or, with false, evaluation mode) here and below. */
  train(mode = true): this {
    for (const module of this.modules()) module.setTraining(mode);
    return this;
  }

  /** Evaluation mode: `train(false)`. */
  eval(): this {
    return this.train(false);
  }

  /** Mode of this module alone; layers that must stay in one mode override it. */
  protected setTraining(mode: boolean): void {
    this.training = mode;
  }

  requiresGrad_(requiresGrad = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad_(requiresGrad);
    return this;
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = null;
  }

  /** Calls `fn` on every module, children before their parent. */
  apply(fn: (module: AnyModule) => void): this {
    for (const module of walkUp(this, new Set())) fn(module);
    return this;
  }

  /**
   * Moves parameters and buffers to a device and converts those of a floating-point type to a dtype, in
   * place: the Parameter objects stay the same, so an optimizer need not be rebuilt.
   */
  to(target: DeviceLike | DType | ModuleTarget): this {
    convertModule(this, target);
    return this;
  }

  cpu(): this {
    return this.to('cpu');
  }

  cuda(device: Device | string = 'cuda'): this {
    return this.to(device);
  }

  // ---- state ---------------------------------------------------------------------------------------

  /**
   * Parameters and persistent buffers by dotted name, in PyTorch's order: a module's parameters, its
   * buffers, then its children. The tensors share memory with the module and take part in no graph.
   */
  stateDict(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const [key, tensor] of collectState(this)) state.set(key, tensor.detach().keep());
    return state;
  }

  /**
   * Copies tensors into the parameters and buffers of the same names, converting dtype and device.
   * @throws with `strict` (the default), before anything is copied, when a key is missing or unexpected or
   *   a shape differs; the error names them all. Otherwise the report does, and the rest is loaded.
   */
  loadStateDict(state: ReadonlyMap<string, Tensor>, options?: LoadOptions): LoadReport {
    return loadState(this, state, options);
  }

  /**
   * Called when this module, or one above it, loads a state dict, before names and shapes are compared. A module that
   * comes in several forms takes the one of the state; one whose entries once had other names renames them.
   *
   * @param state a copy of the map that is being loaded, free to be changed
   * @param prefix what this module's names begin with in it: `''`, or a path and a dot
   */
  beforeLoad(_state: Map<string, Tensor>, _prefix: string): void {}

  // ---- hooks ---------------------------------------------------------------------------------------

  /** Before `forward`: may return replaced arguments (an array, or the single argument). */
  registerForwardPreHook(hook: ForwardPreHook<this, A>, options?: HookOptions): HookHandle {
    this.#hooks ??= new ModuleHooks();
    return this.#hooks.forwardPre.add(hook as never, options);
  }

  /** After `forward`: may return a replaced output. A tensor that outlives the call must be `keep()`-ed. */
  registerForwardHook(hook: ForwardHook<this, A, R>, options?: HookOptions): HookHandle {
    this.#hooks ??= new ModuleHooks();
    return this.#hooks.forward.add(hook as never, options);
  }

  /** When the gradients of the outputs are there, before they pass the module: may return replaced ones. */
  registerFullBackwardPreHook(hook: BackwardPreHook<this>, options?: HookOptions): HookHandle {
    this.#hooks ??= new ModuleHooks();
    return this.#hooks.backwardPre.add(hook as never, options);
  }

  /** When the gradients of the inputs are there: may return replaced ones. Not to be changed in place. */
  registerFullBackwardHook(hook: BackwardHook<this>, options?: HookOptions): HookHandle {
    this.#hooks ??= new ModuleHooks();
    return this.#hooks.backward.add(hook as never, options);
  }

  // ---- printing ------------------------------------------------------------------------------------

  /** What printing shows in the parentheses, as in PyTorch; '' for nothing. */
  extraRepr(): string {
    return '';
  }

  toString(): string {
    return this.printWithin([]);
  }

  /** The text of this module; `above` are the modules being printed around it, which are not entered again. */
  printWithin(above: readonly AnyModule[]): string {
    return printModule(this, above);
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}

/** `prefix.name`, without the dot when there is no prefix. */
export function join(prefix: string, name: string): string {
  return prefix === '' ? name : `${prefix}.${name}`;
}

function* walk(module: AnyModule, prefix: string, seen: Set<AnyModule>): Iterable<[string, AnyModule]> {
  if (seen.has(module)) return;
  seen.add(module);
  yield [prefix, module];
  for (const [name, child] of module.ownModules()) yield* walk(child, join(prefix, name), seen);
}

/** Children before their parent. */
function* walkUp(module: AnyModule, seen: Set<AnyModule>): Iterable<AnyModule> {
  if (seen.has(module)) return;
  seen.add(module);
  for (const [, child] of module.ownModules()) yield* walkUp(child, seen);
  yield module;
}

function checkName(name: string): void {
  if (name === '' || name.includes('.')) {
    throw new Error(
      `'${name}' cannot name a parameter, buffer or module: names are not empty and have no dot`,
    );
  }
}
