// Data-parallel training: every process computes on its part of a batch, gradients are averaged.

import { isGradEnabled } from '../autograd.js';
import { native } from '../native.js';
import { type AnyModule, Module } from '../nn/module.js';
import { Tensor } from '../tensor.js';
import type { ProcessGroup } from './group.js';
import { worldGroup } from './init.js';
import { allGatherObjectSync } from './objects.js';

export interface DataParallelOptions {
  /** Default: all processes. */
  group?: ProcessGroup;
  /** Gradients are averaged in pieces of about this many MiB, while backward computes the next. Default 25. */
  bucketCapMb?: number;
  /**
   * Some parameters may take no part in a step. Costs a walk over the graph each step; without it, such a step is an
   * error at the next forward. Default false.
   */
  findUnusedParameters?: boolean;
  /** Buffers become rank 0's before each forward in training mode. Default true. */
  broadcastBuffers?: boolean;
  /** `grad`s are views of the buckets, which saves a copy; they must not be detached. Default false. */
  gradientAsBucketView?: boolean;
}

const MIB = 2 ** 20;

const abandoned = new FinalizationRegistry<number>((id) => native.reducerClose(id));

/**
 * A module whose gradients are the mean over all processes, on libtorch's own reducer: buckets, overlap with backward,
 * and numbers as in Python's DistributedDataParallel. At construction everybody gets rank 0's parameters and buffers.
 *
 * Call it in the module's stead, with this process's part of the batch, and use one backward for each forward; every
 * output must take part in what backward starts from. When parameters are frozen or unfrozen, all processes must do
 * the same. In a group of one process it is the module itself.
 *
 * @typeParam A arguments of the module
 * @typeParam R its result
 */
export class DistributedDataParallel<A extends unknown[] = [Tensor], R = Tensor> extends Module<A, R> {
  readonly module: Module<A, R>;
  readonly #group: ProcessGroup;
  readonly #options: Required<Omit<DataParallelOptions, 'group'>>;
  #reducer: { id: number; of: string } | undefined;
  /** False within `noSync`. */
  #averaging = true;
  /** Buffers need no broadcast where the last backward averaged nothing, so that they are nobody's but one's own. */
  #broadcasts = true;

  /** @throws where the processes' parameters differ in number, shape, dtype or kind of device */
  constructor(module: Module<A, R>, options: DataParallelOptions = {}) {
    super();
    this.module = module;
    const { group = worldGroup(), bucketCapMb = 25, findUnusedParameters = false } = options;
    const { broadcastBuffers = true, gradientAsBucketView = false } = options;
    if (!(bucketCapMb > 0)) throw new RangeError(`bucketCapMb is ${bucketCapMb}; it must be positive`);
    this.#group = group;
    this.#options = { bucketCapMb, findUnusedParameters, broadcastBuffers, gradientAsBucketView };
    if (group.size === 1) return;
    this.#prepare();
    broadcastTensors([...module.parameters(), ...module.buffers()], group);
  }

  /** Runs `body`, whose backward passes add to the gradients without averaging; the next one after it averages. */
  noSync<T>(body: () => T): T {
    const before = this.#averaging;
    this.#averaging = false;
    try {
      const result = body();
      if (result instanceof Promise) {
        result.catch(() => undefined);
        throw new TypeError('noSync must not be asynchronous');
      }
      return result;
    } finally {
      this.#averaging = before;
    }
  }

  /** Averages no longer, and gives the buckets' memory back. The end of its group, and the garbage collector, do the same. */
  close(): void {
    if (this.#reducer === undefined) return;
    abandoned.unregister(this);
    native.reducerClose(this.#reducer.id);
    this.#reducer = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  protected override forward(...args: A): R {
    if (this.#group.size === 1) return this.module.call(...args);
    const training = isGradEnabled();
    const averaging = training && this.#averaging;
    const id = this.#prepare();
    if (training) native.reducerForward(id, averaging);
    if (this.#options.broadcastBuffers && this.training && this.#broadcasts) {
      broadcastTensors([...this.module.buffers()], this.#group);
    }
    const result = this.module.call(...args);
    if (averaging) {
      native.reducerBackward(id, this.#options.findUnusedParameters ? handles(tensorsIn(result)) : []);
    }
    if (training) this.#broadcasts = averaging;
    return result;
  }

  /** The reducer for the parameters that are to be trained now. */
  #prepare(): number {
    const named = trainable(this.module);
    const of = named.map(([, { handle }]) => handle).join();
    if (this.#reducer?.of === of) return this.#reducer.id;
    this.close();
    if (named.length === 0) throw new Error('DistributedDataParallel: no parameter requires a gradient');
    checkSame(named, this.#group);
    const { bucketCapMb, findUnusedParameters, gradientAsBucketView } = this.#options;
    const cap = Math.ceil(bucketCapMb * MIB);
    const id = native.reducerNew(
      this.#group.handle,
      handles(named.map(([, parameter]) => parameter)),
      named.map(([name]) => name),
      cap,
      Math.min(MIB, cap),
      findUnusedParameters,
      gradientAsBucketView,
    );
    abandoned.register(this, id, this);
    this.#reducer = { id, of };
    return id;
  }
}

/** Rank 0's values for all processes, in place and in few messages. Blocks JavaScript. */
export function broadcastTensors(tensors: readonly Tensor[], group: ProcessGroup = worldGroup()): void {
  native.broadcastCoalesced(group.handle, handles(tensors));
}

function trainable(module: AnyModule): [string, Tensor][] {
  return [...module.namedParameters()].filter(([, parameter]) => parameter.requiresGrad);
}

/** Throws, in all processes, where they are not to train the same parameters. */
function checkSame(named: readonly [string, Tensor][], group: ProcessGroup): void {
  const own = named.map(
    ([name, { shape, dtype, device }]) => `${name} [${shape.join(', ')}] ${dtype.name} on ${device.type}`,
  );
  const all = allGatherObjectSync(own, group);
  for (const [rank, theirs] of all.entries()) {
    const at = all[0]!.findIndex((text, i) => text !== theirs[i]);
    if (at < 0 && theirs.length === all[0]!.length) continue;
    const [a, b] = [all[0]!, theirs].map((list) => list[at < 0 ? all[0]!.length : at] ?? 'nothing more');
    throw new Error(`the processes' models differ: rank 0 trains ${a}, where rank ${rank} has ${b}`);
  }
}

const handles = (tensors: readonly Tensor[]): number[] => tensors.map(({ handle }) => handle);

/** The tensors in a result made of arrays, maps and plain objects. */
function tensorsIn(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value];
  if (value === null || typeof value !== 'object') return [];
  const parts = value instanceof Map ? [...value.values()] : Object.values(value);
  return parts.flatMap(tensorsIn);
}
