import { keep, scope } from '../memory.js';
import * as aten from '../ops.js';
import type { Optimizer } from '../optim/index.js';
import { Tensor } from '../tensor.js';
import { type CudaDevice, deviceIndex, withDevice } from './devices.js';
import { checkWarmup, Graph, refuseAutocastCache } from './graphs.js';
import { Stream, withStreamAside } from './streams.js';

/** What records a step and repeats it. CUDA graphs do; tests put something else in their place. */
export interface StepRecorder {
  /** Runs a step as it will be recorded, so that libraries are set up and memory is at hand; or one that will not be. */
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
  /** Steps that are done one call at a time before one is recorded, at least 1 (default 3). */
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
 * another shape or type than the first call's are stepped as usual. After `loadStateDict`, and when hyper-parameters change
 * so that the optimizer's groups are stepped otherwise, a new recording is made. Whether parameters need gradients, modes
 * of modules and everything else that changes what a step does asks for `reset()`.
 */
export class GraphedStep<T> {
  readonly #body: (...inputs: Tensor[]) => T;
  readonly #optimizers: readonly Optimizer[];
  readonly #device: CudaDevice;
  readonly #warmup: number;
  readonly #recorder: StepRecorder;
  #inputs: Tensor[] | undefined;
  #warm = 0;
  /** Of each optimizer, what `refresh` gave at the last call. */
  #groupings: readonly number[] | undefined;
  #outputs: { value: T } | undefined;

  /**
   * @param body synchronous; takes tensors, returns tensors (alone, or in arrays, maps and plain objects). It runs with
   *   `cuda` meaning the device
   * @throws for an optimizer that is not capturable, RangeError for a `warmup` below 1
   */
  constructor(body: (...inputs: Tensor[]) => T, options: GraphedStepOptions) {
    const { optimizers, device = 'cuda', warmup = 3, recorder } = options;
    checkWarmup('GraphedStep', warmup);
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
    this.#recorder = recorder ?? new CudaRecorder(device);
  }

  /** Whether calls launch a recording. */
  get recorded(): boolean {
    return this.#outputs !== undefined;
  }

  /**
   * One step. Inputs may be on the CPU; from page-locked memory they are copied while JavaScript goes on.
   *
   * @returns what the body returns, cut off from autograd; once recorded, the same tensors each time, which the next call
   *   overwrites
   * @throws within `autocast`, unless the step is recorded (autocast in the body is fine)
   */
  call(...given: Tensor[]): T {
    this.#inputs ??= given.map((input) => aten.empty_like(input, { device: this.#where }).keep());
    const inputs = this.#inputs;
    if (given.length !== inputs.length || !given.every((input, i) => alike(input, inputs[i]))) {
      return this.#recorder.warmUp(() => this.#step(given));
    }
    const groupings = this.#optimizers.map((optimizer) => optimizer.refresh());
    if (String(groupings) !== String(this.#groupings ?? groupings)) this.reset();
    this.#groupings = groupings;
    for (const [i, input] of given.entries()) inputs[i].copy_(input, true);
    if (this.#outputs === undefined) {
      if (this.#warm < this.#warmup) {
        this.#warm++;
        return this.#recorder.warmUp(() => this.#step(inputs));
      }
      this.#outputs = { value: keep(this.#recorder.record(() => this.#step(inputs))) };
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
    refuseAutocastCache(this.#where.split(':', 1)[0]);
    for (const optimizer of this.#optimizers) optimizer.zeroGrad();
    return scope(() => {
      const here = inputs.map((input) => input.to({ device: this.#where, nonBlocking: true }));
      return detached(this.#body(...here));
    });
  }
}

/** The value with its tensors cut off from autograd's graph, which would live as long as they do. */
function detached<T>(value: T): T;
function detached(value: unknown): unknown {
  if (value instanceof Tensor) return value.detach();
  if (Array.isArray(value)) return value.map(detached);
  if (value instanceof Map) return new Map([...value].map(([key, one]) => [key, detached(one)]));
  if (typeof value !== 'object' || value === null) return value;
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, detached(one)]));
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
    return withStreamAside(this.#side, step);
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
