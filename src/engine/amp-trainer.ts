import type { Config } from '../config/index.js';
import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { checkRecordable } from './recorded-steps.js';
import { type LossDict, SimpleTrainer, type StepOptimizer, type TrainableModel } from './simple-trainer.js';

/** What the trainer needs of an optimizer: its gradients are looked at, too. */
export interface AMPOptimizer extends StepOptimizer {
  readonly paramGroups: readonly { readonly params: readonly Tensor[] }[];
}

export interface AMPOptions {
  /** Device of the model. */
  device: torch.DeviceLike;
  /** Short type to compute in: float16 or bfloat16. Default: float16 on CUDA, bfloat16 on the CPU. */
  dtype?: torch.DType;
  /** Scales the losses. Default: a new one for float16; none, being of no use, for bfloat16. */
  gradScaler?: torch.amp.GradScaler;
}

/** Scale below which gradients that are still not finite are taken for a broken run. */
const MIN_SCALE = 1e-4;

/** Raised when gradients stay infinite or undefined, however little the loss is scaled. */
export class NonFiniteGradientError extends Error {
  override readonly name = 'NonFiniteGradientError';
}

/**
 * SimpleTrainer in mixed precision: forward runs under `torch.autocast`, and with float16 the loss is scaled by a
 * `GradScaler`. Weights, gradients and optimizer stay float32.
 *
 * Gradients are unscaled before `afterBackward`, so that hooks and the optimizer's clipping see true ones; hooks on
 * tensors, which run within backward, see scaled ones. A step whose gradients overflowed is left out: weights and
 * optimizer stay as they are, the next step is scaled less.
 */
export class AMPTrainer<B = unknown> extends SimpleTrainer<B> {
  declare readonly optimizer: AMPOptimizer;
  readonly device: torch.DeviceLike;
  readonly dtype: torch.DType;
  /** Its state belongs into checkpoints. */
  readonly gradScaler: torch.amp.GradScaler;
  /** After the last step. */
  #scale = 0;

  constructor(
    model: TrainableModel<B>,
    dataLoader: AsyncIterable<B> | Iterable<B>,
    optimizer: AMPOptimizer,
    { device, dtype = torch.amp.getAutocastDtype(device), gradScaler }: AMPOptions,
  ) {
    super(model, dataLoader, optimizer);
    this.device = device;
    this.dtype = dtype;
    this.gradScaler = gradScaler ?? new torch.amp.GradScaler({ enabled: dtype === torch.float16 });
  }

  override get lossScale(): number {
    return this.gradScaler.getScale();
  }

  protected override computeLosses(batch: B): { losses: LossDict; total: Tensor } {
    return torch.autocast(this.device, { dtype: this.dtype }, () => super.computeLosses(batch));
  }

  protected override backward(total: Tensor): void {
    this.gradScaler.scale(total).backward();
    this.gradScaler.unscale_(this.optimizer);
  }

  protected override step(): void {
    this.gradScaler.step(this.optimizer);
    this.gradScaler.update();
  }

  protected override watched(): Record<string, Tensor> {
    const scale = this.gradScaler.scaleTensor;
    return scale === null ? {} : { scale: scale.detach() };
  }

  protected override look({ scale = 1 }: Record<string, number>): void {
    const before = this.#scale;
    this.#scale = scale;
    if (scale >= MIN_SCALE || scale >= before) return;
    throw new NonFiniteGradientError(
      `gradients are still infinite or undefined at iteration ${this.iter}, with the loss scaled by ` +
        `${scale}: the run has diverged. Usual cures: a lower SOLVER.BASE_LR, a longer ` +
        'SOLVER.WARMUP_ITERS, SOLVER.AMP.DTYPE bfloat16; then --resume from the last checkpoint or start anew.',
    );
  }
}

/**
 * The type that `SOLVER.AMP` asks for; undefined for none. `auto` is float16 on CUDA, and on the CPU bfloat16 where the
 * processor has instructions for it, else none, with a warning.
 */
export function ampDtype({ MODEL, SOLVER }: Config): torch.DType | undefined {
  const { ENABLED, DTYPE } = SOLVER.AMP;
  if (!ENABLED) return undefined;
  if (DTYPE === 'float16') return torch.float16;
  if (DTYPE === 'bfloat16') return torch.bfloat16;
  if (DTYPE !== 'auto') {
    throw new Error(`SOLVER.AMP.DTYPE is '${DTYPE}'; it must be 'auto', 'float16' or 'bfloat16'`);
  }
  if (MODEL.DEVICE.startsWith('cuda')) return torch.float16;
  if (torch.cpuHasBfloat16()) return torch.bfloat16;
  logger.warn(
    'SOLVER.AMP has no effect: this processor has no instructions for bfloat16, so that float32 is much faster. ' +
      'SOLVER.AMP.DTYPE bfloat16 asks for it all the same',
  );
  return undefined;
}

/**
 * What does the steps that a configuration asks for: in mixed precision with SOLVER.AMP.ENABLED, recorded in a CUDA
 * graph with SOLVER.CUDA_GRAPH.
 *
 * @throws ConfigError where steps cannot be recorded
 */
export function buildStepper<B>(
  cfg: Config,
  model: TrainableModel<B>,
  dataLoader: AsyncIterable<B> | Iterable<B>,
  optimizer: AMPOptimizer,
): SimpleTrainer<B> {
  const dtype = ampDtype(cfg);
  const stepper =
    dtype === undefined
      ? new SimpleTrainer(model, dataLoader, optimizer)
      : new AMPTrainer(model, dataLoader, optimizer, { device: cfg.MODEL.DEVICE, dtype });
  if (cfg.SOLVER.CUDA_GRAPH) {
    checkRecordable(cfg);
    stepper.recordSteps({ device: cfg.MODEL.DEVICE });
  }
  return stepper;
}
