import { keep, scope } from '../memory.js';
import * as aten from '../ops.js';
import type { Optimizer } from '../optim/index.js';
import type { Tensor } from '../tensor.js';
import { type CudaDevice, deviceIndex, withDevice } from './devices.js';
import { Graph } from './graphs.js';
import { currentStream, Stream, withStream } from './streams.js';

/** What records a step and repeats it. CUDA graphs do; tests put something else in their place. */
export interface StepRecorder {
  /** Runs a step as it will be recorded, so that libraries are set up and memory is at hand. */
  warmUp<T>(step: () => T): T;
  /** Records a step without doing it; results hold what `replay` will have computed. */
  record<T>(step: () => T): T;
  replay(): void;
  /** Forgets what was recorded. */
  reset(): void;
}

export interface GraphedStepOptions {
  /** Those that step; all capturable. */
  optimizers: Optimizer | readonly Optimizer[];
  /** Device of the model (default `cuda`). */
  device?: CudaDevice;
  /** Steps that are done one call at a time before one is recorded (default 3). */
  warmup?: number;
  /** Default: CUDA graphs. */
  recorder?: StepRecorder;
}

/**
 * A whole training step, forward, backward and optimizer, as one CUDA graph: launched at once, however many kernels it
 * has.
 *
 * ```ts
 * const optimizer = new torch.optim.AdamW(model.parameters(), { capturable: true });
 * const step = new torch.cuda.GraphedStep((x, y) => {
 *   const loss = torch.autocast('cuda', { dtype: torch.bfloat16 }, () => criterion(model.call(x), y));
 *   loss.backward();
 *   optimizer.step();
 *   return loss;
 * }, { optimizers: optimizer });
 * for (const [x, y] of batches) step.call(x, y);
 * ```
 *
 * Every call is one step on its own inputs: the first ones run as usual, the next is recorded and launched, later ones
 * are launched. Gradients are set to null before each step that is not a launch, so the body does not zero them. It
 * must not wait for the device (`item()`, printing, shapes that follow from data): what JavaScript computes in it stays
 * as it was when the step was recorded. A `GradScaler` may be in it, learning rates may change between calls, inputs of
 * another shape or type than the first call's are stepped as usual. Whether parameters need gradients, modes of modules
 * and everything else that changes what a step does asks for `reset()`.
 */
export class GraphedStep<T> {
  readonly #body: (...inputs: Tensor[]) => T;
  readonly #optimizers: readonly Optimizer[];
  readonly #device: CudaDevice;
  readonly #warmup: number;
  readonly #recorder: StepRecorder;
  #inputs: Tensor[] | undefined;
  #warm = 0;
  #outputs: { value: T } | undefined;

  /** @param body synchronous; takes tensors, returns tensors (alone, or in arrays, maps and plain objects) */
  constructor(body: (...inputs: Tensor[]) => T, options: GraphedStepOptions) {
    const { optimizers, device = 'cuda', warmup = 3, recorder = new CudaRecorder(device) } = options;
    this.#body = body;
    this.#optimizers = 'step' in optimizers ? [optimizers] : optimizers;
    for (const optimizer of this.#optimizers) {
      if (!optimizer.capturable) {
        throw new Error(
          `GraphedStep: ${optimizer.constructor.name} is not capturable; set its \`capturable\``,
        );
      }
    }
    this.#device = device;
    this.#warmup = warmup;
    this.#recorder = recorder;
  }

  /** Whether calls launch a recording. */
  get recorded(): boolean {
    return this.#outputs !== undefined;
  }

  /**
   * One step. Inputs may be on the CPU; from page-locked memory they are copied while JavaScript goes on.
   *
   * @returns what the body returns; once recorded, the same tensors each time, which the next call overwrites
   */
  call(...given: Tensor[]): T {
    this.#inputs ??= given.map((input) => aten.empty_like(input, { device: this.#where }).keep());
    const inputs = this.#inputs;
    if (given.length !== inputs.length || !given.every((input, i) => alike(input, inputs[i]))) {
      return this.#step(given.map((input) => input.to({ device: this.#where, nonBlocking: true })));
    }
    for (const [i, input] of given.entries()) inputs[i].copy_(input, true);
    // Not `every`: the learning rates of all are written.
    const fresh = this.#optimizers.map((optimizer) => optimizer.refresh()).every(Boolean);
    if (this.#outputs !== undefined && !fresh) this.reset();
    if (this.#outputs === undefined) {
      if (this.#warm < this.#warmup) {
        this.#warm++;
        return this.#recorder.warmUp(() => this.#step(inputs));
      }
      this.#outputs = { value: keep(this.#recorder.record(() => scope(() => this.#step(inputs)))) };
    }
    this.#recorder.replay();
    return this.#outputs.value;
  }

  /** Forgets the recording: the next calls run as usual, and one of them is recorded. */
  reset(): void {
    this.#outputs = undefined;
    this.#warm = 0;
    this.#recorder.reset();
  }

  get #where(): string {
    return typeof this.#device === 'number' ? `cuda:${this.#device}` : String(this.#device);
  }

  #step(inputs: readonly Tensor[]): T {
    for (const optimizer of this.#optimizers) optimizer.zeroGrad();
    return this.#body(...inputs);
  }
}

function alike(given: Tensor, expected: Tensor): boolean {
  return given.dtype === expected.dtype && String(given.shape) === String(expected.shape);
}

class CudaRecorder implements StepRecorder {
  readonly #device: number;
  readonly #side: Stream;
  #graph: Graph | undefined;

  constructor(device: CudaDevice) {
    this.#device = deviceIndex(device);
    this.#side = new Stream({ device: this.#device });
  }

  warmUp<T>(step: () => T): T {
    // Memory of the side stream is used again only there, and only after it has waited for us.
    const current = currentStream(this.#device);
    this.#side.waitStream(current);
    const result = withDevice(this.#device, () => withStream(this.#side, step));
    current.waitStream(this.#side);
    return result;
  }

  record<T>(step: () => T): T {
    const graph = new Graph();
    const result = withDevice(this.#device, () => graph.capture(step));
    this.#graph = graph;
    return result;
  }

  replay(): void {
    this.#graph?.replay();
  }

  reset(): void {
    this.#graph?.[Symbol.dispose]();
    this.#graph = undefined;
  }
}
