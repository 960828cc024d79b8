import { noGrad } from '../autograd.js';
import { keep, scope } from '../memory.js';
import { Tensor } from '../tensor.js';
import { synchronize } from './devices.js';
import { requireCuda } from './native.js';
import { currentStream, Stream, withStream } from './streams.js';

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
   * shapes), and should have run before on another stream, so that libraries are set up and memory is at hand.
   *
   * @returns what `body` returns; tensors in it must be kept as long as the graph is replayed
   * @throws what `body` threw, or libtorch's reason why the work cannot be recorded
   */
  capture<T>(body: () => T): T {
    const cuda = requireCuda();
    if (this.#state !== 'new') throw new Error('a Graph is captured once; make a new one');
    this.#state = 'failed';
    // What is held for others is of no use to the graph, which has memory of its own.
    cuda.emptyCache();
    synchronize();
    const result = withStream(new Stream(), () => {
      cuda.graphBegin(this.#id);
      let made: T;
      try {
        made = body();
      } catch (error) {
        try {
          cuda.graphEnd(this.#id);
        } catch {
          // The recording is spoilt; the first error says why.
        }
        throw error;
      }
      cuda.graphEnd(this.#id);
      return made;
    });
    this.#state = 'captured';
    return result;
  }

  /** Does the recorded work once more, on the current stream. */
  replay(): void {
    if (this.#state !== 'captured') throw new Error('this Graph has nothing recorded: call capture() first');
    requireCuda().graphReplay(this.#id);
  }

  [Symbol.dispose](): void {
    this.#state = 'failed';
    graphs.unregister(this);
    requireCuda().freeGraph(this.#id);
  }
}

export interface GraphedOptions {
  /** Calls before the recording (default 3). */
  warmup?: number;
}

/**
 * A function of CUDA tensors as a graph: for inputs of the same shapes and types as `samples` it gives what `body` would,
 * without gradients. The result's tensors are overwritten by the next call: clone what is to stay.
 *
 * @param body synchronous; takes and returns tensors (alone, or in arrays, maps and plain objects)
 */
export function graphed<T>(
  body: (...inputs: Tensor[]) => T,
  samples: readonly Tensor[],
  { warmup = 3 }: GraphedOptions = {},
): (...inputs: Tensor[]) => T {
  requireCuda();
  const inputs = samples.map((sample) => sample.detach().clone().keep());
  const side = new Stream();
  side.waitStream(currentStream());
  withStream(side, () => {
    for (let i = 0; i < warmup; i++) scope(() => void noGrad(() => body(...inputs)));
  });
  currentStream().waitStream(side);
  const graph = new Graph();
  const outputs = keep(graph.capture(() => noGrad(() => scope(() => body(...inputs)))));
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
