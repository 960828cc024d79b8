// Process groups and their collectives.

import { noGrad } from '../autograd.js';
import type { DeviceLike } from '../device.js';
import { int64, uint8 } from '../dtype.js';
import { empty, tensor as makeTensor, zeros } from '../factories.js';
import { native } from '../native.js';
import { cat, empty_like } from '../ops.js';
import type { Tensor } from '../tensor.js';
import type { Store } from './store.js';
import { within } from './within.js';
import { distributedError, Work } from './work.js';

/** Longest wait for the other members when a group is closed, in milliseconds. */
export const CLOSING = 10_000;

/** `nccl`: CUDA tensors through NCCL and others through Gloo; `gloo`: all through Gloo, CUDA's by way of the CPU. */
export type BackendName = 'gloo' | 'nccl';

/**
 * How values of different processes become one; `avg` is `sum` divided by the number of processes. NCCL has none of
 * `band`, `bor` and `bxor`.
 */
export type ReduceOp = 'sum' | 'avg' | 'product' | 'min' | 'max' | 'band' | 'bor' | 'bxor';

/** Numbers of c10d::ReduceOp. */
const OPS: Record<ReduceOp, number> = {
  sum: 0,
  avg: 1,
  product: 2,
  min: 3,
  max: 4,
  band: 5,
  bor: 6,
  bxor: 7,
};

/** A part of an exchange: a tensor to send to the process `peer`, or to fill with what it sends. */
export interface Transfer {
  op: 'send' | 'recv';
  tensor: Tensor;
  peer: number;
}

interface Call {
  inputs?: readonly Tensor[];
  outputs?: readonly Tensor[];
  /** Root or peer. */
  rank?: number;
  op?: ReduceOp;
  outputSplits?: readonly number[];
  inputSplits?: readonly number[];
  tag?: number;
}

/**
 * Processes that exchange tensors. Each of them must call the same collectives in the same order, with tensors of the
 * same dtype and, unless said otherwise, shape. Ranks are counted within the group. Tensors on the CPU go through
 * Gloo; those on CUDA through NCCL, or with the backend `gloo` through Gloo, far slower. Nothing here is recorded for backward.
 */
export class ProcessGroup {
  /** @internal */
  readonly handle: number;
  readonly rank: number;
  readonly size: number;
  /** The members' ranks among all processes. */
  readonly ranks: readonly number[];
  readonly backend: BackendName;
  readonly #store: Store;
  #closed: Promise<void> | undefined;

  /** For this package: use `initProcessGroup` or `newGroup`. */
  constructor(handle: number, rank: number, ranks: readonly number[], store: Store, backend: BackendName) {
    this.handle = handle;
    this.rank = rank;
    this.ranks = ranks;
    this.size = ranks.length;
    this.backend = backend;
    this.#store = store;
  }

  /** Every process gets `root`'s values, in place. */
  broadcast(tensor: Tensor, root = 0): Work<Tensor> {
    const own = dense(tensor);
    return this.#start('broadcast', { inputs: [bytes(own)], rank: this.#member(root) }, () =>
      back(own, tensor),
    );
  }

  /** Every process gets the reduction of all tensors, in place. */
  allReduce(tensor: Tensor, op: ReduceOp = 'sum'): Work<Tensor> {
    const own = dense(tensor);
    return this.#start('all_reduce', { inputs: [own], op }, () => back(this.#averaged(own, op), tensor));
  }

  /** `root` gets the reduction of all tensors, in place; the others' tensors are left with undefined values. */
  reduce(tensor: Tensor, root = 0, op: ReduceOp = 'sum'): Work<Tensor> {
    const own = dense(tensor);
    return this.#start('reduce', { inputs: [own], rank: this.#member(root), op }, () =>
      this.rank === root ? back(this.#averaged(own, op), tensor) : tensor,
    );
  }

  /** The tensors of all processes, by rank. */
  allGather(tensor: Tensor): Work<Tensor[]> {
    const own = dense(tensor);
    const outputs = this.#like(own);
    return this.#start('all_gather', { inputs: [bytes(own)], outputs: outputs.map(bytes) }, () => outputs);
  }

  /** `allGather` into one tensor, `[size, …]`: one message to one place. */
  allGatherStacked(tensor: Tensor): Work<Tensor> {
    const own = dense(tensor);
    const output = empty([this.size, ...own.shape], { dtype: own.dtype, device: own.device as DeviceLike });
    return this.#start(
      'all_gather_stacked',
      { inputs: [bytes(own)], outputs: [bytes(output)] },
      () => output,
    );
  }

  /**
   * `allGather` of tensors that differ in shape, not in dtype. Waits for the shapes, hence asynchronous; see
   * `allGatherUnevenSync`.
   */
  async allGatherUneven(tensor: Tensor): Promise<Tensor[]> {
    const shapes = (await this.allGather(shapeOf(tensor))).map(readShape);
    const { padded, finish } = padding(tensor, shapes);
    return finish(await this.allGather(padded));
  }

  /** `allGatherUneven`, blocking JavaScript. */
  allGatherUnevenSync(tensor: Tensor): Tensor[] {
    const shapes = this.allGather(shapeOf(tensor)).wait().map(readShape);
    const { padded, finish } = padding(tensor, shapes);
    return finish(this.allGather(padded).wait());
  }

  /** The tensors of all processes, by rank, for `root`; null for the others. */
  gather(tensor: Tensor, root = 0): Work<Tensor[] | null> {
    const own = dense(tensor);
    const outputs = this.rank === this.#member(root) ? this.#like(own) : null;
    const call = { inputs: [bytes(own)], outputs: outputs?.map(bytes) ?? [], rank: root };
    return this.#start('gather', call, () => outputs);
  }

  /** `gather` of tensors that differ in shape, not in dtype. */
  async gatherUneven(tensor: Tensor, root = 0): Promise<Tensor[] | null> {
    const shapes = (await this.allGather(shapeOf(tensor))).map(readShape);
    const { padded, finish } = padding(tensor, shapes);
    const gathered = await this.gather(padded, root);
    return gathered && finish(gathered);
  }

  /** `into` gets this process's of the `root`'s tensors, one a rank; only `root` gives some. */
  scatter(into: Tensor, tensors: readonly Tensor[] | null, root = 0): Work<Tensor> {
    const mine = this.rank === this.#member(root);
    if (mine && tensors?.length !== this.size) {
      throw new TypeError(
        `scatter: the root gives ${this.size} tensors, one a rank; got ${tensors?.length ?? 0}`,
      );
    }
    const own = dense(into);
    const inputs = mine ? (tensors as readonly Tensor[]).map((one) => bytes(dense(one))) : [];
    return this.#start('scatter', { inputs, outputs: [bytes(own)], rank: root }, () => back(own, into));
  }

  /** Reduces tensors of `size × n` rows and gives each rank its `n` rows of the result. */
  reduceScatter(tensor: Tensor, op: ReduceOp = 'sum'): Work<Tensor> {
    const [rows, ...rest] = tensor.shape;
    if (rows === undefined || rows % this.size !== 0) {
      throw new TypeError(`reduceScatter: ${this.size} processes cannot share ${rows ?? 0} rows evenly`);
    }
    const output = empty([rows / this.size, ...rest], { dtype: tensor.dtype, device: tensor.device });
    return this.#start('reduce_scatter', { inputs: [dense(tensor)], outputs: [output], op }, () =>
      this.#averaged(output, op),
    );
  }

  /**
   * Gives each rank its rows of `tensor` and returns the rows that all ranks gave this one, one after the other.
   *
   * @param inputSplits rows for each rank; default: equally many
   * @param outputSplits rows from each rank; default: equally many
   */
  allToAll(tensor: Tensor, inputSplits?: readonly number[], outputSplits?: readonly number[]): Work<Tensor> {
    const [rows, ...rest] = tensor.shape;
    const total = (splits: readonly number[]): number => splits.reduce((a, b) => a + b, 0);
    if (
      rows === undefined ||
      (inputSplits === undefined ? rows % this.size !== 0 : total(inputSplits) !== rows)
    ) {
      throw new TypeError(
        `allToAll: ${rows ?? 0} rows do not make ${this.size} parts${inputSplits ? ` of ${inputSplits.join(', ')}` : ''}`,
      );
    }
    const input = dense(tensor);
    const count = outputSplits ? total(outputSplits) : rows;
    const output = empty([count, ...rest], { dtype: tensor.dtype, device: tensor.device });
    const call = { inputs: [input], outputs: [output], inputSplits, outputSplits };
    return this.#start('all_to_all', call, () => output);
  }

  /**
   * Sends a tensor to one process, which has to `recv` it. NCCL does one thing after the other and knows no tags: where
   * two processes both send first and receive then, they wait for each other for ever; see `exchange`.
   */
  send(tensor: Tensor, to: number, tag = 0): Work {
    return this.#start('send', { inputs: [bytes(dense(tensor))], rank: this.#member(to), tag }, () => {});
  }

  /** Fills `tensor` with what one process sends. */
  recv(tensor: Tensor, from: number, tag = 0): Work<Tensor> {
    const own = dense(tensor);
    return this.#start('recv', { inputs: [bytes(own)], rank: this.#member(from), tag }, () =>
      back(own, tensor),
    );
  }

  /**
   * Sends and receives at once, in any order of the parts. Tensors are on one kind of device; what several parts send to
   * one process is received there in the same order. The result: the tensors that were received.
   */
  exchange(transfers: readonly Transfer[]): Work<Tensor[]> {
    const kinds = new Set(transfers.map(({ tensor }) => tensor.device.type));
    if (kinds.size > 1)
      throw new TypeError(`exchange: tensors on ${[...kinds].join(' and on ')} go separately`);
    const all = transfers.map((one) => ({ ...one, own: dense(one.tensor), peer: this.#member(one.peer) }));
    const sent = all.filter(({ op }) => op === 'send');
    const received = all.filter(({ op }) => op === 'recv');
    const call = {
      inputs: sent.map(({ own }) => bytes(own)),
      inputSplits: sent.map(({ peer }) => peer),
      outputs: received.map(({ own }) => bytes(own)),
      outputSplits: received.map(({ peer }) => peer),
    };
    return this.#start('exchange', call, () => received.map(({ own, tensor }) => back(own, tensor)));
  }

  /** Done when all processes have come to it. */
  barrier(): Work {
    return this.#start('barrier', {}, () => {});
  }

  /**
   * Ends its connections after what is under way, and with them the DistributedDataParallels of the group. All members
   * do so: communicators of NCCL are closed together. Where a member does not, the end is left to the background after
   * 10 s.
   */
  close(): Promise<void> {
    this.#closed ??= this.#end(true);
    return this.#closed;
  }

  /** @internal Ends them at once: some member has failed. */
  abort(): Promise<void> {
    this.#closed ??= this.#end(false);
    return this.#closed;
  }

  async #end(graceful: boolean): Promise<void> {
    const ended = native.groupClose(this.handle, graceful);
    this.#store.close();
    await within(CLOSING, ended);
  }

  #start<T>(name: string, call: Call, finish: () => T): Work<T> {
    const {
      inputs = [],
      outputs = [],
      rank = 0,
      op = 'sum',
      outputSplits = [],
      inputSplits = [],
      tag = 0,
    } = call;
    const handles = (tensors: readonly Tensor[]): number[] => tensors.map(({ handle }) => handle);
    const [first] = inputs;
    const number = OPS[op === 'avg' && !(first && this.#averages(first)) ? 'sum' : op];
    let id: number;
    try {
      const lists = [handles(inputs), handles(outputs)] as const;
      id = native.collective(this.handle, name, ...lists, rank, number, outputSplits, inputSplits, tag);
    } catch (error) {
      // libtorch may find out at once that a peer is gone; the caller's own mistakes stay what they are.
      if (error instanceof TypeError || !/[Cc]onnection|peer/.test(String(error))) throw error;
      throw distributedError(name, error);
    }
    return new Work(name, id, () => noGrad(finish));
  }

  #like(tensor: Tensor): Tensor[] {
    return Array.from(this.ranks, () => empty_like(tensor));
  }

  #averaged(tensor: Tensor, op: ReduceOp): Tensor {
    return op === 'avg' && !this.#averages(tensor) ? tensor.div_(this.size) : tensor;
  }

  /** Whether it is the backend that divides: a sum may overflow where the mean does not. */
  #averages({ device, dtype }: Tensor): boolean {
    return this.backend === 'nccl' && device.type === 'cuda' && dtype.isFloatingPoint;
  }

  #member(rank: number): number {
    if (Number.isInteger(rank) && rank >= 0 && rank < this.size) return rank;
    throw new RangeError(
      `rank ${rank} is not in this group of ${this.size} processes (0 to ${this.size - 1})`,
    );
  }
}

/** The tensor, or a copy whose elements lie in row-major order, without gradient. */
function dense(tensor: Tensor): Tensor {
  return noGrad(() => tensor.detach().contiguous());
}

/** The same memory as bytes: what is only moved may be of any dtype. */
function bytes(tensor: Tensor): Tensor {
  return tensor.view([-1]).view(uint8);
}

/** Puts the result into the tensor that was given, where that was not contiguous. */
function back(own: Tensor, tensor: Tensor): Tensor {
  if (!tensor.isContiguous()) tensor.copy_(own);
  return tensor;
}

const MAX_DIMS = 16;

/** `[dims, size…]`, padded to one length for all tensors. */
function shapeOf(tensor: Tensor): Tensor {
  const { shape, device } = tensor;
  if (shape.length > MAX_DIMS) throw new TypeError(`allGatherUneven: at most ${MAX_DIMS} dimensions`);
  const values = new BigInt64Array(MAX_DIMS + 1);
  for (const [i, n] of [shape.length, ...shape].entries()) values[i] = BigInt(n);
  return makeTensor(values, { dtype: int64, device: device as DeviceLike });
}

function readShape(tensor: Tensor): number[] {
  const [dims, ...sizes] = (tensor.toArray() as (number | bigint)[]).map(Number);
  return sizes.slice(0, dims);
}

function padding(
  tensor: Tensor,
  shapes: readonly number[][],
): { padded: Tensor; finish: (gathered: Tensor[]) => Tensor[] } {
  const counts = shapes.map((shape) => shape.reduce((a, b) => a * b, 1));
  const most = Math.max(...counts);
  const own = dense(tensor).view([-1]);
  const missing = most - own.numel();
  const padded =
    missing === 0 ? own : cat([own, zeros([missing], { dtype: tensor.dtype, device: tensor.device })]);
  return {
    padded,
    finish: (gathered) => gathered.map((one, i) => one.narrow(0, 0, counts[i]!).view(shapes[i]!)),
  };
}
