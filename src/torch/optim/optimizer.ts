import { enableGrad, gradsOf, noGrad } from '../autograd.js';
import type { DeviceLike } from '../device.js';
import { float32 } from '../dtype.js';
import { scope } from '../memory.js';
import { native } from '../native.js';
import * as aten from '../ops.js';
import { Tensor } from '../tensor.js';
import { loadOptimizerState, type OptimizerState, packState } from './state.js';

/**
 * Parameters that share hyper-parameters, under PyTorch's names. Values may be changed between steps, as
 * learning-rate schedulers do with `lr`.
 */
export interface ParamGroup {
  params: Tensor[];
  lr: number;
  weight_decay: number;
  initial_lr?: number;
  param_names?: string[];
  [key: string]: unknown;
}

/** A group as given to a constructor or to `addParamGroup`: what it leaves out is taken from the options. */
export type ParamGroupInit = { params: Tensor | Iterable<Tensor | [string, Tensor]> } & Record<
  string,
  unknown
>;

/** What an optimizer steps: parameters, `namedParameters()`, or groups of either. */
export type Params = Iterable<Tensor> | Iterable<[string, Tensor]> | Iterable<ParamGroupInit>;

/** State of one parameter, under PyTorch's names (`step`, `exp_avg`, …). */
export type ParamState = Record<string, unknown>;

/** Parameters that one call can step: equal hyper-parameters, dtype and device. */
export interface Bucket<G extends ParamGroup> {
  /** Its groups; the first speaks for all. */
  readonly groups: G[];
  readonly params: Tensor[];
  /** Per state name, the tensors of all `params`; complete once every parameter has its state. */
  lists: Tensor[][] | null;
  /** Of a capturable optimizer: the learning rate beside the parameters, and the number that was written there. */
  rate?: { tensor: Tensor; value: number };
}

/**
 * Base of the optimizers. Parameters of all groups whose hyper-parameters agree are stepped together, so
 * that one group a parameter costs no more than one group. Parameters without a gradient are skipped.
 */
export abstract class Optimizer<G extends ParamGroup = ParamGroup> {
  readonly paramGroups: G[] = [];
  /** State by parameter; made at a parameter's first step. */
  readonly state = new Map<Tensor, ParamState>();
  readonly defaults: Readonly<Record<string, unknown>>;
  /**
   * A float32 scalar for the time of a step: where it is 1, the step changes nothing. Adam, AdamW and SGD leave that to
   * the device, unless `fused` is false; the others wait for it. `GradScaler` sets it.
   */
  foundInf: Tensor | null = null;
  #buckets: Bucket<G>[] | null = null;
  /** How often buckets were made. */
  #groupings = 0;
  #stamp: number[] = [];
  #capturable = false;
  #stepping: Bucket<G> | undefined;

  constructor(params: Params, defaults: Record<string, unknown>) {
    this.defaults = defaults;
    if (params instanceof Tensor) {
      throw new TypeError(
        `${this.constructor.name}: params must be a list of tensors or groups, not one Tensor`,
      );
    }
    const items: unknown[] = [...params];
    if (items.length === 0) throw new Error(`${this.constructor.name} got an empty parameter list`);
    const groups = items.every((item) => !(item instanceof Tensor) && !Array.isArray(item));
    if (groups) for (const group of items) this.addParamGroup(group as ParamGroupInit);
    else this.addParamGroup({ params: items as Tensor[] });
  }

  /** Hyper-parameters that one fused call shares: groups that differ in one of them are stepped apart. */
  protected abstract readonly hyperKeys: readonly string[];
  /** Steps the parameters of a bucket that have a gradient. Runs without recording gradients, in a scope. */
  protected abstract update(group: G, params: Tensor[], grads: Tensor[], bucket: Bucket<G> | null): void;

  /**
   * Where a parameter's scalar state lives, the count of steps above all: on the CPU, where reading it costs
   * nothing, unless a kernel wants it beside the parameter.
   */
  protected scalarDevice(_param: Tensor, _group: G): DeviceLike {
    return 'cpu';
  }

  /** Shape of a parameter's state that is no scalar. */
  protected stateShape(_name: string, param: Tensor): readonly number[] {
    return param.shape;
  }

  /**
   * Adds parameters with hyper-parameters of their own; those not given are the optimizer's.
   * @throws when a parameter is not a leaf tensor or is in the optimizer already
   */
  addParamGroup(init: ParamGroupInit): void {
    const who = this.constructor.name;
    if (
      typeof init !== 'object' ||
      init === null ||
      typeof init.params !== 'object' ||
      init.params === null
    ) {
      throw new TypeError(`${who}: a parameter group is an object with 'params', got ${typeof init}`);
    }
    const given: (Tensor | [string, Tensor])[] =
      init.params instanceof Tensor ? [init.params] : [...init.params];
    const params = given.map((p) => (Array.isArray(p) ? p[1] : p));
    const names = given.flatMap((p) => (Array.isArray(p) ? [p[0]] : []));
    if (names.length !== 0 && names.length !== params.length) {
      throw new Error(`${who}: either all parameters are given with a name or none`);
    }
    const known = new Set(this.paramGroups.flatMap((g) => g.params));
    for (const p of params) {
      if (!(p instanceof Tensor)) throw new TypeError(`${who} can only optimize Tensors, got ${typeof p}`);
      if (!p.isLeaf) throw new Error(`${who}: can't optimize a tensor that is not a leaf`);
      if (known.has(p)) throw new Error(`${who}: a parameter appears more than once`);
      known.add(p);
    }
    const group: Record<string, unknown> = { ...init, params };
    if (names.length > 0) group.param_names = names;
    for (const [key, value] of Object.entries(this.defaults)) {
      if (group[key] === undefined) group[key] = Array.isArray(value) ? [...value] : value;
    }
    if ('capturable' in group) group.capturable = this.#capturable;
    this.paramGroups.push(group as G);
    this.#buckets = null;
  }

  /** Whether its steps can be recorded at all, and leave it to the device whether they are done (`foundInf`). */
  get canCapture(): boolean {
    return false;
  }

  /**
   * Steps can be recorded in a CUDA graph (`cuda.GraphedStep`): nothing is read back, and learning rates are read from
   * the device, in float32, where `refresh` writes them. Adam, AdamW and SGD can, by their fused kernels.
   *
   * @throws when switched on for an optimizer that cannot
   */
  get capturable(): boolean {
    return this.#capturable;
  }
  set capturable(on: boolean) {
    if (on && !this.canCapture) {
      throw new Error(
        `${this.constructor.name}: its steps cannot be recorded in a CUDA graph; those of Adam, AdamW and SGD can, ` +
          'unless fused is false',
      );
    }
    this.#capturable = on;
    for (const group of this.paramGroups) {
      if ('capturable' in group) Object.assign(group, { capturable: on });
    }
  }

  /**
   * Writes the groups' learning rates to where recorded steps read them; a capturable optimizer's `step` does so too.
   *
   * @returns a number that is another one whenever parameters are grouped anew, as when their hyper-parameters part, and
   *   after `addParamGroup` and `loadStateDict`: steps recorded before read what nobody writes any longer
   */
  refresh(): number {
    const buckets = this.#currentBuckets();
    if (this.#capturable) noGrad(() => scope(() => buckets.forEach(writeRate)));
    return this.#groupings;
  }

  /** The learning rate of the parameters that are being stepped, as the fused kernels take it. */
  protected get rate(): number | Tensor {
    const bucket = this.#stepping as Bucket<G>;
    return this.#capturable ? writeRate(bucket) : (bucket.groups[0] as G).lr;
  }

  /** `foundInf` where the parameters that are being stepped are. */
  protected get foundInfThere(): Tensor | null {
    const [first] = (this.#stepping as Bucket<G>).params;
    return this.foundInf?.to((first as Tensor).device) ?? null;
  }

  /**
   * For a step without the fused kernel: whether `foundInf` forbids it. Waits for the device.
   * @throws where nothing may wait
   */
  protected leftOut(): boolean {
    if (this.#capturable) {
      throw new Error(
        `${this.constructor.name}: a capturable step needs the fused kernel, which cannot walk through a parameter with ` +
          'gaps in memory (an expanded or strided view)',
      );
    }
    return this.foundInf !== null && Number(this.foundInf.item()) !== 0;
  }

  /**
   * One step. A closure, where given, computes the loss anew first.
   * @returns what the closure returned
   */
  step(): undefined;
  step<R>(closure: () => R): R;
  step<R>(closure?: () => R): R | undefined {
    const result = closure === undefined ? undefined : enableGrad(closure);
    noGrad(() => scope(() => this.#stepBuckets()));
    return result;
  }

  #stepBuckets(): void {
    if (!this.canCapture && this.leftOut()) return;
    for (const bucket of this.#currentBuckets()) {
      const group = bucket.groups[0] as G;
      this.#stepping = bucket;
      const grads = gradsOf(bucket.params);
      if (!grads.includes(null)) {
        this.update(group, bucket.params, grads as Tensor[], bucket);
        continue;
      }
      const params = bucket.params.filter((_, i) => grads[i] !== null);
      const present = grads.filter((g) => g !== null);
      if (params.length > 0) this.update(group, params, present, null);
    }
  }

  /** Sets all gradients to null. */
  zeroGrad(): void {
    for (const group of this.paramGroups) for (const p of group.params) p.grad = null;
  }

  /** State in PyTorch's form: by parameter number, groups with numbers in place of parameters. */
  stateDict(): OptimizerState {
    return packState(this.paramGroups, this.state);
  }

  /**
   * Takes over a state dict: this optimizer's, or one that `torch.save` wrote (as maps or plain objects).
   * Groups are matched by position; tensors are copied to the dtype and device of their parameter.
   * @throws when the number of groups, or of parameters of one, differs
   */
  loadStateDict(state: unknown): void {
    const loaded = loadOptimizerState(state, this.paramGroups, this.constructor.name, {
      scalarDevice: (param, group) => this.scalarDevice(param, group as G),
      shapeOf: (name, param) => this.stateShape(name, param),
    });
    this.state.clear();
    for (const [param, entry] of loaded.state) this.state.set(param, entry);
    loaded.groups.forEach((saved, i) => {
      const group = this.paramGroups[i] as Record<string, unknown>;
      for (const key of Object.keys(group)) if (key !== 'params' && key !== 'param_names') delete group[key];
      Object.assign(group, saved);
      for (const [key, value] of Object.entries(this.defaults))
        if (group[key] === undefined) group[key] = value;
      if ('capturable' in group) group.capturable = this.#capturable;
    });
    this.#buckets = null;
  }

  /**
   * For each state name, the tensors of `params` in order, made by `fresh` where there are none yet.
   * With a bucket the lists are remembered.
   */
  protected stateLists(
    names: readonly string[],
    params: readonly Tensor[],
    bucket: Bucket<G> | null,
    fresh: (name: string, param: Tensor) => Tensor,
  ): Tensor[][] {
    if (bucket?.lists?.length === names.length) return bucket.lists;
    const lists: Tensor[][] = names.map(() => []);
    for (const p of params) {
      let entry = this.state.get(p);
      if (entry === undefined) {
        entry = {};
        this.state.set(p, entry);
      }
      for (const [k, name] of names.entries()) {
        entry[name] ??= fresh(name, p).keep();
        lists[k]?.push(entry[name] as Tensor);
      }
    }
    if (bucket !== null) bucket.lists = lists;
    return lists;
  }

  /**
   * Prepares a fused kernel, which walks through parameter, gradient and state side by side in memory: a
   * gradient or state that lies otherwise than its parameter is laid out anew.
   * @returns the gradients to use; null when a parameter itself has gaps, so that the kernel cannot run
   */
  protected aligned(
    params: Tensor[],
    grads: Tensor[],
    names: readonly string[],
    lists: Tensor[][],
  ): Tensor[] | null {
    const ids = (tensors: Tensor[]): number[] => tensors.map((t) => t.handle);
    const unlike = native.unlikeLayouts(ids(params), [grads, ...lists].map(ids));
    if (unlike.length === 0) return grads;
    const result = [...grads];
    for (let i = 0; i < unlike.length; i += 2) {
      const [list, position] = [unlike[i] as number, unlike[i + 1] as number];
      if (list < 0) return null;
      const param = params[position] as Tensor;
      const relaid = aten.empty_like(param).copy_(([grads, ...lists][list] as Tensor[])[position] as Tensor);
      if (list === 0) {
        result[position] = relaid;
      } else {
        (lists[list - 1] as Tensor[])[position] = relaid.keep();
        (this.state.get(param) as ParamState)[names[list - 1] as string] = relaid;
      }
    }
    return result;
  }

  #currentBuckets(): Bucket<G>[] {
    if (this.#buckets === null || !this.#valid(this.#buckets)) {
      this.#buckets = this.#makeBuckets();
      this.#groupings++;
      this.#stamp = this.paramGroups.map((g) => g.params.length);
    }
    return this.#buckets;
  }

  /** Whether the groups of each bucket still agree. */
  #valid(buckets: Bucket<G>[]): boolean {
    const stamp = this.#stamp;
    if (stamp.length !== this.paramGroups.length) return false;
    for (let i = 0; i < stamp.length; i++) if (this.paramGroups[i]?.params.length !== stamp[i]) return false;
    for (const { groups } of buckets) {
      const first = groups[0] as G;
      for (let i = 1; i < groups.length; i++) {
        for (const key of this.hyperKeys) if (!same(first[key], groups[i]?.[key])) return false;
      }
    }
    return true;
  }

  #makeBuckets(): Bucket<G>[] {
    const buckets = new Map<string, Bucket<G>>();
    for (const group of this.paramGroups) {
      const hyper = JSON.stringify(this.hyperKeys.map((key) => group[key] ?? null));
      for (const p of group.params) {
        const key = `${hyper} ${p.dtype.name} ${p.device}`;
        let bucket = buckets.get(key);
        if (bucket === undefined) {
          bucket = { groups: [], params: [], lists: null };
          buckets.set(key, bucket);
        }
        if (bucket.groups.at(-1) !== group) bucket.groups.push(group);
        bucket.params.push(p);
      }
    }
    return [...buckets.values()];
  }
}

/** Brings the learning rate beside a bucket's parameters up to date; returns where it lies. */
function writeRate<G extends ParamGroup>(bucket: Bucket<G>): Tensor {
  const { lr } = bucket.groups[0] as G;
  const { device } = bucket.params[0] as Tensor;
  if (bucket.rate === undefined) {
    bucket.rate = { tensor: aten.full([], lr, { dtype: float32, device }).keep(), value: lr };
  } else if (bucket.rate.value !== lr) {
    bucket.rate.tensor.fill_(lr);
    bucket.rate.value = lr;
  }
  return bucket.rate.tensor;
}

function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => x === b[i]);
}

/** Refuses a hyper-parameter that is not a number within [min, below). */
export function checkRange(who: string, name: string, value: number, below = Number.POSITIVE_INFINITY): void {
  if (!(typeof value === 'number' && value >= 0 && value < below)) {
    throw new RangeError(`${who}: invalid ${name}: ${value}`);
  }
}
