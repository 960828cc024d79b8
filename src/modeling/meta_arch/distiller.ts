import { type Config, ConfigError } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import type { HeadOutputs } from '../heads/build.js';
import { jsdivLoss } from '../losses/distillation.js';
import { Baseline, type BaselineOptions } from './baseline.js';
import { type ExtraState, type LossDict, META_ARCH_REGISTRY, type ModelInput } from './build.js';
import { buildTwin, loadTeachers, MovingAverage } from './teacher.js';

type Tensor = torch.Tensor;

export interface DistillerOptions extends BaselineOptions {
  /** Makes the teachers, on the CPU; called once, when training is about to begin. */
  teachers: () => Baseline[];
  /** Makes the moving average of the student, the first of its teachers, if it is to be one. */
  average?: () => MovingAverage;
}

interface Teachers {
  /** All, the moving average first. */
  models: readonly Baseline[];
  average: MovingAverage | undefined;
}

/**
 * Baseline that also learns to predict what its teachers predict: `loss_jsdiv`, the mean of `jsdivLoss` over them.
 * Teachers are trained models (`KD.MODEL_CONFIG`, `KD.MODEL_WEIGHTS`), a moving average of the student (`KD.EMA`), or
 * both.
 *
 * State dict and evaluation are Baseline's: teachers are loaded when training begins, by `prepareTraining` or the first
 * training call, and without it their files are not needed. The moving average is kept in checkpoints as
 * `ema_teacher`. It is updated in each training call that records gradients, by the weights that the call's forward
 * pass uses: once for every optimizer step.
 */
export class Distiller extends Baseline {
  readonly #makeTeachers: () => Baseline[];
  readonly #makeAverage: (() => MovingAverage) | undefined;
  // Private, so that they are no modules of the student: neither trained nor saved with it.
  #teachers: Teachers | undefined;

  constructor({ teachers, average, ...baseline }: DistillerOptions) {
    super(baseline);
    this.#makeTeachers = teachers;
    this.#makeAverage = average;
  }

  static override fromConfig(cfg: Config, log: Log): DistillerOptions {
    // Teachers come later; the configuration may have changed by then.
    const own = cfg.clone();
    const { ENABLED, MOMENTUM } = own.KD.EMA;
    return {
      ...Baseline.fromConfig(cfg, log),
      teachers: () => loadTeachers(own, log),
      ...(ENABLED && { average: () => new MovingAverage(buildTwin(own, log), MOMENTUM) }),
    };
  }

  /** `ema_teacher`, when there is one: a state dict with a Baseline's keys. */
  override extraState(): Record<string, ExtraState> {
    if (this.#makeAverage === undefined) return super.extraState();
    const average = (): MovingAverage => this.#theTeachers().average as MovingAverage;
    return {
      ...super.extraState(),
      ema_teacher: {
        stateDict: () => average().stateDict(),
        loadStateDict: (state: Map<string, Tensor>) => average().loadStateDict(state),
      },
    };
  }

  /** Moves the teachers along. */
  override to(target: Parameters<Baseline['to']>[0]): this {
    for (const teacher of this.#teachers?.models ?? []) teacher.to(target);
    return super.to(target);
  }

  /** Loads the teachers, if that has not been done. */
  override prepareTraining(): void {
    this.#theTeachers();
  }

  protected override lossTerms(outputs: HeadOutputs, targets: Tensor, batch: ModelInput): LossDict {
    const losses = super.lossTerms(outputs, targets, batch);
    const { models, average } = this.#theTeachers();
    if (torch.isGradEnabled()) average?.update(this);
    const terms = models.map((teacher) => {
      const logits = torch.noGrad(() => torch.scope(() => teacher.outputs(batch, targets).pred_class_logits));
      return jsdivLoss(outputs.pred_class_logits, logits);
    });
    // Its own forward pass has counted the batch once more.
    average?.copyBuffers(this);
    losses.loss_jsdiv = terms.reduce((sum, term) => sum.add(term)).div(terms.length);
    return losses;
  }

  /** The teachers, which the first call makes. */
  #theTeachers(): Teachers {
    if (this.#teachers !== undefined) return this.#teachers;
    const average = this.#makeAverage?.();
    const models = [...(average ? [average.model] : []), ...this.#makeTeachers()];
    if (models.length === 0) {
      throw new ConfigError(
        'a Distiller needs a teacher: name configurations and weights of trained models in KD.MODEL_CONFIG and ' +
          'KD.MODEL_WEIGHTS, or set KD.EMA.ENABLED True',
        'KD.MODEL_CONFIG',
      );
    }
    for (const teacher of models) teacher.to({ device: this.device, dtype: this.pixel_mean.dtype });
    this.#teachers = { models, average };
    return this.#teachers;
  }
}

META_ARCH_REGISTRY.register('Distiller', Distiller);
