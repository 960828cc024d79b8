// Scaling of losses, so that float16 gradients neither vanish nor overflow.

import { noGrad } from '../autograd.js';
import { float16, float32, float64, int32 } from '../dtype.js';
import { scope } from '../memory.js';
import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';

export interface GradScalerOptions {
  /** Factor on the loss to begin with (default 65536). */
  initScale?: number;
  /** The scale is multiplied by this after `growthInterval` good steps in a row (default 2). */
  growthFactor?: number;
  /** The scale is multiplied by this after a step with infinite or undefined gradients (default 0.5). */
  backoffFactor?: number;
  /** Default 2000. */
  growthInterval?: number;
  /** false makes all methods do what one would do without a scaler (default true). */
  enabled?: boolean;
}

/** A scaler's state under PyTorch's names; empty when it is not enabled. */
export interface GradScalerState {
  scale?: number;
  growth_factor?: number;
  backoff_factor?: number;
  growth_interval?: number;
  _growth_tracker?: number;
}

/** What a scaler needs of an optimizer. */
export interface ScaledOptimizer {
  readonly paramGroups: readonly { readonly params: readonly Tensor[] }[];
  /** Whether its steps are recorded, so that nobody may wait for the device. */
  readonly capturable?: boolean;
  /** Whether it leaves it to the device to heed `foundInf`, so that nobody has to wait. */
  readonly canCapture?: boolean;
  foundInf?: Tensor | null;
  step(): unknown;
}

interface Progress {
  stage: 'unscaled' | 'stepped';
  /** By device, whether a gradient was not finite: 1 or 0, a float32 scalar there. */
  foundInf: Map<string, Tensor>;
}

/**
 * Multiplies losses by a factor so that small gradients do not vanish in float16, divides the gradients by it again,
 * leaves out steps whose gradients overflowed, and adapts the factor; `torch.amp.GradScaler`, to the bit.
 *
 * ```ts
 * const loss = torch.autocast('cuda', () => criterion(model.call(x)));
 * scaler.scale(loss).backward();
 * scaler.unscale_(optimizer);             // only where gradients are looked at or clipped
 * clipGradNorm_(model.parameters(), 1);
 * scaler.step(optimizer);
 * scaler.update();
 * ```
 *
 * Scale and counts live beside the loss; only `step` waits for the device, and not with Adam, AdamW and SGD.
 */
export class GradScaler {
  readonly enabled: boolean;
  growthFactor: number;
  backoffFactor: number;
  growthInterval: number;
  #initScale: number;
  #initTracker = 0;
  #scale: Tensor | undefined;
  #tracker: Tensor | undefined;
  #progress = new Map<ScaledOptimizer, Progress>();

  constructor({
    initScale = 65536,
    growthFactor = 2,
    backoffFactor = 0.5,
    growthInterval = 2000,
    enabled = true,
  }: GradScalerOptions = {}) {
    if (!(growthFactor > 1))
      throw new RangeError(`GradScaler: growthFactor is ${growthFactor}; it must be above 1`);
    if (!(backoffFactor < 1 && backoffFactor > 0)) {
      throw new RangeError(`GradScaler: backoffFactor is ${backoffFactor}; it must lie between 0 and 1`);
    }
    if (!(initScale > 0)) throw new RangeError(`GradScaler: initScale is ${initScale}; it must be above 0`);
    this.#initScale = initScale;
    this.growthFactor = growthFactor;
    this.backoffFactor = backoffFactor;
    this.growthInterval = growthInterval;
    this.enabled = enabled;
  }

  /** `loss` times the scale; recorded for backward. */
  scale(loss: Tensor): Tensor {
    if (!this.enabled) return loss;
    if (this.#scale === undefined) {
      const { device } = loss;
      this.#scale = aten.full([], this.#initScale, { dtype: float32, device }).keep();
      this.#tracker = aten.full([], this.#initTracker, { dtype: int32, device }).keep();
    }
    return loss.mul(this.#scale.to({ device: loss.device, nonBlocking: true }));
  }

  /**
   * Divides the gradients of the optimizer's parameters by the scale, in place, and notes whether all are finite.
   * `step` does it where it has not been done.
   *
   * @throws when it was done since the last `update`, before any `scale`, for float16 gradients, and where there are none
   */
  unscale_(optimizer: ScaledOptimizer): void {
    if (!this.enabled) return;
    const { scale } = this.#started('unscale_');
    const stage = this.#progress.get(optimizer)?.stage;
    if (stage === 'unscaled')
      throw new Error('unscale_ was called twice on this optimizer without an update()');
    if (stage === 'stepped') throw new Error('unscale_ was called after step(): call update() in between');
    const foundInf = noGrad(() => scope(() => unscale(optimizer, scale)));
    if (foundInf.size === 0) throw new Error('GradScaler: no parameter of the optimizer has a gradient');
    this.#progress.set(optimizer, { stage: 'unscaled', foundInf });
  }

  /**
   * Steps the optimizer, unless a gradient is infinite or undefined.
   *
   * @returns whether it stepped; undefined where the device decides and nobody waits for it: for a capturable optimizer,
   *   and on GPUs for Adam, AdamW and SGD, as with PyTorch's fused ones
   * @throws when it was called since the last `update`, before any `scale`, and where no parameter has a gradient
   */
  step(optimizer: ScaledOptimizer): boolean | undefined {
    if (!this.enabled) {
      optimizer.step();
      return true;
    }
    this.#started('step');
    if (this.#progress.get(optimizer)?.stage === 'stepped') {
      throw new Error('step was called twice on this optimizer without an update()');
    }
    if (!this.#progress.has(optimizer)) this.unscale_(optimizer);
    const progress = this.#progress.get(optimizer) as Progress;
    if (progress.foundInf.size === 0)
      throw new Error('GradScaler: no parameter of the optimizer has a gradient');
    const found = [...progress.foundInf.values()];
    progress.stage = 'stepped';
    if (optimizer.capturable && found.length > 1)
      throw new Error('GradScaler: a capturable optimizer has its parameters on one device');
    const { device } = found[0];
    if (optimizer.capturable || (optimizer.canCapture && found.length === 1 && device.type !== 'cpu')) {
      const before = optimizer.foundInf ?? null;
      optimizer.foundInf = before === null ? found[0] : found[0].maximum(before.to(device));
      try {
        optimizer.step();
      } finally {
        optimizer.foundInf = before;
      }
      return undefined;
    }
    const finite = found.every((one) => one.item() === 0);
    if (finite) optimizer.step();
    return finite;
  }

  /**
   * Adapts the scale to what the steps since the last update found, or sets it.
   *
   * @throws when nothing was unscaled since
   */
  update(newScale?: number): void {
    if (!this.enabled) return;
    const { scale, tracker } = this.#started('update');
    noGrad(() =>
      scope(() => {
        if (newScale !== undefined) {
          scale.fill_(newScale);
          return;
        }
        const found = [...this.#progress.values()].flatMap(({ foundInf }) => [...foundInf.values()]);
        if (found.length === 0)
          throw new Error('GradScaler: update() needs a step() or unscale_() before it');
        const here = found.map((one) => one.to({ device: scale.device, nonBlocking: true }));
        const any = here.reduce((sum, one) => sum.add(one));
        aten._amp_update_scale_(
          scale,
          tracker,
          any,
          this.growthFactor,
          this.backoffFactor,
          this.growthInterval,
        );
      }),
    );
    for (const { foundInf } of this.#progress.values())
      for (const found of foundInf.values()) found.dispose();
    this.#progress.clear();
  }

  /** The scale where it lives, a float32 scalar; null when not enabled and before the first `scale`. */
  get scaleTensor(): Tensor | null {
    return this.#scale ?? null;
  }

  /** The scale as it is now; 1 when not enabled. Waits for the device. */
  getScale(): number {
    if (!this.enabled) return 1;
    return this.#scale === undefined ? this.#initScale : Number(this.#scale.item());
  }

  /** State in PyTorch's form. */
  stateDict(): GradScalerState {
    if (!this.enabled) return {};
    return {
      scale: this.getScale(),
      growth_factor: this.growthFactor,
      backoff_factor: this.backoffFactor,
      growth_interval: this.growthInterval,
      _growth_tracker: this.#tracker === undefined ? this.#initTracker : Number(this.#tracker.item()),
    };
  }

  /**
   * Takes over a state dict, its own or PyTorch's (an object or a map, as `torch.load` reads it). A scaler that is not
   * enabled takes none.
   *
   * @throws when something is missing in it, above all when a scaler that was not enabled saved it
   */
  loadStateDict(state: GradScalerState | ReadonlyMap<string, unknown>): void {
    if (!this.enabled) return;
    const given: Record<string, unknown> = state instanceof Map ? Object.fromEntries(state) : { ...state };
    const value = (name: keyof GradScalerState): number => {
      const found = Number(given[name] ?? Number.NaN);
      if (Number.isNaN(found)) {
        throw new Error(
          `GradScaler: the state has no '${name}'; was it saved by a scaler that was not enabled?`,
        );
      }
      return found;
    };
    const scale = value('scale');
    const tracker = value('_growth_tracker');
    const [growth, backoff, interval] = [
      value('growth_factor'),
      value('backoff_factor'),
      value('growth_interval'),
    ];
    this.#initScale = scale;
    this.#initTracker = tracker;
    this.growthFactor = growth;
    this.backoffFactor = backoff;
    this.growthInterval = interval;
    noGrad(() => {
      this.#scale?.fill_(scale);
      this.#tracker?.fill_(tracker);
    });
  }

  #started(method: string): { scale: Tensor; tracker: Tensor } {
    if (this.#scale === undefined || this.#tracker === undefined) {
      throw new Error(`GradScaler: ${method} was called before scale(loss)`);
    }
    return { scale: this.#scale, tracker: this.#tracker };
  }
}

function unscale(optimizer: ScaledOptimizer, scale: Tensor): Map<string, Tensor> {
  // The reciprocal in double precision, as PyTorch takes it.
  const inverse = scale.to(float64).reciprocal().to(float32);
  const kinds = new Map<string, Tensor[]>();
  for (const { params } of optimizer.paramGroups) {
    for (const { grad } of params) {
      if (grad === null) continue;
      if (grad.dtype === float16) {
        throw new TypeError(
          'GradScaler cannot unscale float16 gradients: keep the weights in float32, under autocast',
        );
      }
      const kind = `${grad.device} ${grad.dtype.name}`;
      const same = kinds.get(kind);
      if (same === undefined) kinds.set(kind, [grad]);
      else same.push(grad);
    }
  }
  const foundInf = new Map<string, Tensor>();
  for (const grads of kinds.values()) {
    const { device } = grads[0];
    const found = foundInf.get(String(device)) ?? aten.zeros([], { dtype: float32, device }).keep();
    foundInf.set(String(device), found);
    aten._amp_foreach_non_finite_check_and_unscale_(grads, found, inverse.to(device));
  }
  return foundInf;
}
