import { noGrad } from '../autograd.js';
import { keep, scope } from '../memory.js';
import { native } from '../native.js';
import { endingWith } from '../synchronous.js';
import { Tensor } from '../tensor.js';
import { deviceIndex, synchronize, withDevice } from './devices.js';
import { requireCuda } from './native.js';
import { Stream, withStream, withStreamAside } from './streams.js';

const graphs = new FinalizationRegistry<number>((id) => requireCuda().freeGraph(id));

/**
 * Work on a device, recorded once and repeated at the cost of a single launch: the same kernels on the same memory.
 * What goes in is copied into the tensors that the recording read; results are found in those it wrote.
 */
export class Graph implements Disposable {
  readonly #id: number;
  #state: 'new' | 'captured' | 'failed' = 'new';

  constructor() {
    this.#id = requireCuda().newGraph();
    graphs.register(this, this.#id, this);
  }

  /**
   * Records what `body` does; nothing is computed. It must not wait for the device (`item()`, printing, data-dependent
   * shapes), and should have run before on another stream, so that libraries are set up and memory is at hand. It is
   * recorded on the current device, and replayed there.
   *
   * @returns what `body` returns; tensors in it must be kept as long as the graph is replayed
   * @throws what `body` threw, libtorch's reason why the work cannot be recorded, or within `autocast` (autocast in
   *   `body` is fine)
   */
  capture<T>(body: () => T): T {
    const cuda = requireCuda();
    if (this.#state !== 'new') throw new Error('a Graph is captured once; make a new one');
    refuseAutocastCache('cuda');
    this.#state = 'failed';
    // What is held for others is of no use to the graph, which has memory of its own.
    cuda.emptyCache();
    synchronize();
    const result = withStream(new Stream(), () => {
      cuda.graphBegin(this.#id);
      return endingWith(body, () => cuda.graphEnd(this.#id));
    });
    this.#state = 'captured';
    return result;
  }

  /** Does the recorded work once more, on the current stream. */
  replay(): void {
    if (this.#state !== 'captured') throw new Error('this Graph has nothing recorded: call capture() first');
    requireCuda().graphReplay(this.#id);
  }

  /** @throws TypeError while it records */
  [Symbol.dispose](): void {
    requireCuda().freeGraph(this.#id);
    this.#state = 'failed';
    graphs.unregister(this);
  }
}

/**
 * Refuses to record within autocast: cast weights are remembered until autocast ends, so that a recording would read
 * memory that is freed then, and would not cast weights that have changed.
 */
export function refuseAutocastCache(deviceType: string): void {
  const [enabled, , cached] = native.autocastState(deviceType);
  if (!enabled || !cached) return;
  throw new Error(
    `work cannot be recorded within autocast('${deviceType}'), which keeps cast weights only until it ends: call ` +
      'autocast in the recorded function, or give it cacheEnabled: false',
  );
}

export function checkWarmup(who: string, warmup: number): void {
  if (Number.isInteger(warmup) && warmup >= 1) return;
  throw new RangeError(
    `${who}: warmup is ${warmup}; it must be a whole number from 1 on: what the first call makes to stay, such as an ` +
      "optimizer's state, must not be made in the recording",
  );
}

export interface GraphedOptions {
  /** Calls before the recording, at least 1 (default 3). */
  warmup?: number;
}

/**
 * A function of CUDA tensors as a graph: for inputs of the same shapes and types as `samples` it gives what `body` would,
 * without gradients. The result's tensors are overwritten by the next call: clone what is to stay.
 *
 * @param body synchronous; takes and returns tensors (alone, or in arrays, maps and plain objects). It runs with `cuda`
 *   meaning the device of `samples`
 * @throws TypeError for samples on the CPU or on several devices, RangeError for a `warmup` below 1, and within `autocast`
 */
export function graphed<T>(
  body: (...inputs: Tensor[]) => T,
  samples: readonly Tensor[],
  { warmup = 3 }: GraphedOptions = {},
): (...inputs: Tensor[]) => T {
  requireCuda();
  checkWarmup('graphed', warmup);
  refuseAutocastCache('cuda');
  const places = [...new Set(samples.map(({ device }) => String(device)))];
  if (places.length > 1) {
    throw new TypeError(`graphed: the samples are on ${places.join(' and ')}; a graph has one device`);
  }
  const device = deviceIndex(places[0] ?? 'cuda');
  const inputs = samples.map((sample) => sample.detach().clone().keep());
  const run = (): T => noGrad(() => scope(() => body(...inputs)));
  withStreamAside(new Stream({ device }), () => {
    for (let i = 0; i < warmup; i++) scope(() => void run());
  });
  const graph = new Graph();
  const outputs = keep(withDevice(device, () => graph.capture(run)));
  return (...given) => {
    if (given.length !== inputs.length) {
      throw new TypeError(`this graph takes ${inputs.length} tensors, got ${given.length}`);
    }
    given.forEach((tensor, i) => {
      if (!(tensor instanceof Tensor) || String(tensor.shape) !== String(inputs[i].shape)) {
        const shape = tensor instanceof Tensor ? `[${tensor.shape.join(', ')}]` : typeof tensor;
        throw new TypeError(
          `input ${i} of this graph is a tensor [${inputs[i].shape.join(', ')}], got ${shape}: a graph repeats one shape`,
        );
      }
    });
    noGrad(() => {
      given.forEach((tensor, i) => void inputs[i].copy_(tensor, true));
    });
    graph.replay();
    return outputs;
  };
}
