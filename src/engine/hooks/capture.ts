import { join } from 'node:path';
import { logger } from '../../logger.js';
import { nn } from '../../torch/index.js';
import { disposeCaptured, noteUnseen, putCaptured, saveCaptured } from '../captured.js';
import { ofThisRank } from '../parallel.js';
import { HookBase } from '../train-loop.js';

export type CaptureSink = 'memory' | 'safetensors' | 'tensorboard';

export interface CaptureHookOptions extends nn.CaptureOptions {
  model: nn.AnyModule;
  /** Every how many iterations (the first one included), or which, by number from 0. Default 100. */
  at?: number | ((iteration: number) => boolean);
  /** Where to. Default: `tensorboard`. */
  to?: CaptureSink | readonly CaptureSink[];
  /**
   * Folder of the safetensors files, one for each such iteration: `iter_0000199.safetensors`; of several processes one
   * for each too: `iter_0000199.rank1.safetensors`.
   */
  folder?: string;
}

/** What one iteration showed. */
export interface CapturedStep {
  iteration: number;
  values: nn.Captured[];
}

/**
 * Captures what flows through chosen modules at chosen iterations of a training; at all others the model has no hooks
 * of it.
 *
 * ```ts
 * trainer.registerHooks([
 *   new hooks.CaptureHook({ model: trainer.model, layers: 'backbone.layer4', what: ['output', 'gradOutput'],
 *     reduce: ['mean', 'histogram'], at: 50 }),
 * ]);
 * ```
 *
 * `tensorboard` puts them into the storage of the run: single numbers as scalars, which are in metrics.json too, all
 * others as histograms. What goes to `memory` is held until `take()`.
 */
export class CaptureHook extends HookBase {
  readonly #capture: nn.Capture;
  readonly #isDue: (iteration: number) => boolean;
  readonly #sinks: readonly CaptureSink[];
  readonly #folder: string | undefined;
  #steps: CapturedStep[] = [];
  #delivered = false;

  /** @throws for a pattern that matches no module, or safetensors without a folder */
  constructor({ model, at = 100, to = 'tensorboard', folder, ...options }: CaptureHookOptions) {
    super();
    if (typeof at === 'number' && !(Number.isInteger(at) && at > 0)) {
      throw new RangeError(`CaptureHook: at is ${at}; it must be a whole number, 1 or more, or a function`);
    }
    this.#isDue = typeof at === 'number' ? (iteration) => iteration % at === 0 : at;
    this.#sinks = typeof to === 'string' ? [to] : to;
    this.#folder = folder;
    if (this.#sinks.includes('safetensors') && folder === undefined) {
      throw new Error('CaptureHook: to safetensors needs a folder');
    }
    this.#capture = new nn.Capture(model, options);
  }

  /** What was captured to memory since the last time; the tensors are the caller's from here. */
  take(): CapturedStep[] {
    const steps = this.#steps;
    this.#steps = [];
    return steps;
  }

  override beforeStep(): void {
    if (this.#isDue(this.trainer.iter)) this.#capture.attach();
  }

  /** Before any hook's `afterStep`, so that writers find it. */
  override afterBackward(): void {
    this.#deliver();
  }

  /** For trainers whose steps have no backward. */
  override afterStep(): void {
    this.#deliver();
  }

  override afterTrain(): void {
    this.#capture[Symbol.dispose]();
  }

  #deliver(): void {
    if (!this.#capture.attached) return;
    this.#capture.detach();
    const values = this.#capture.take();
    const note = this.#delivered ? undefined : noteUnseen(this.#capture.layers, values);
    this.#delivered = true;
    if (note !== undefined) logger.warn(`CaptureHook: ${note}`);
    const { iter: iteration, storage } = this.trainer;
    if (this.#sinks.includes('tensorboard')) putCaptured(storage, values);
    if (this.#sinks.includes('safetensors')) {
      const file = `${ofThisRank(`iter_${String(iteration).padStart(7, '0')}`)}.safetensors`;
      saveCaptured(join(this.#folder!, file), values, { iteration: String(iteration) });
    }
    if (this.#sinks.includes('memory')) this.#steps.push({ iteration, values });
    else disposeCaptured(values);
  }
}
