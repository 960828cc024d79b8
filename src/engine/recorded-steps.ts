import { type Config, ConfigError } from '../config/index.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { SimpleTrainer } from './simple-trainer.js';

/** What a step leaves behind: scalars, which the next one overwrites where steps are recorded. */
export interface StepTensors {
  losses: Record<string, Tensor>;
  metrics: Record<string, Tensor>;
  /** What the trainer itself looks at. */
  watched: Record<string, Tensor>;
}

export interface RecordOptions {
  /** Device of the model. */
  device: torch.DeviceLike;
  /** What records; CUDA graphs unless given. */
  recorder?: torch.cuda.StepRecorder;
}

/** A trainer's steps, recorded once and launched batch after batch. */
export class RecordedSteps<B> {
  readonly #trainer: SimpleTrainer<B>;
  readonly #step: (batch: B) => StepTensors;
  readonly #options: RecordOptions;
  readonly #optimizer: torch.optim.Optimizer;
  #recorded: torch.cuda.GraphedStep<StepTensors> | undefined;
  /** Names of the batch's tensors, in the order in which they are the step's inputs; null for a batch that is one. */
  #names: readonly string[] | null = null;
  #modes = '';

  constructor(trainer: SimpleTrainer<B>, step: (batch: B) => StepTensors, options: RecordOptions) {
    this.#trainer = trainer;
    this.#step = step;
    this.#options = options;
    this.#optimizer = trainer.optimizer as torch.optim.Optimizer;
    this.#optimizer.capturable = true;
  }

  step(batch: B): StepTensors {
    this.#recorded ??= this.#start(batch);
    const modes = this.#currentModes();
    if (modes !== this.#modes) {
      if (this.#modes !== '') this.#recorded.reset();
      this.#modes = modes;
    }
    if (this.#names === null) return this.#recorded.call(batch as Tensor);
    const fields = batch as Record<string, Tensor>;
    return this.#recorded.call(...this.#names.map((name) => fields[name]));
  }

  #start(batch: B): torch.cuda.GraphedStep<StepTensors> {
    const watcher = this.#trainer.hooks.find((hook) => hook.watchesBackward);
    if (watcher) {
      throw new Error(
        `the hook ${watcher.name} looks at gradients between backward and the optimizer's step, which are one in a ` +
          'recorded step: leave it out, or set SOLVER.CUDA_GRAPH False',
      );
    }
    if (!(batch instanceof torch.Tensor)) {
      const entries = Object.entries(batch as object);
      this.#names = entries.filter(([, value]) => value instanceof torch.Tensor).map(([name]) => name);
    }
    const names = this.#names;
    return new torch.cuda.GraphedStep(
      (...inputs) => {
        const rebuilt =
          names === null ? inputs[0] : Object.fromEntries(names.map((name, i) => [name, inputs[i]]));
        return this.#step(rebuilt as B);
      },
      { ...this.#options, optimizers: this.#optimizer },
    );
  }

  /** What a step does besides its inputs: which parameters learn, which modules are in training mode. */
  #currentModes(): string {
    const learning = this.#optimizer.paramGroups.flatMap(({ params }) => params.map((p) => p.requiresGrad));
    const { model } = this.#trainer;
    const training = model instanceof torch.nn.Module ? [...model.modules()].map((m) => m.training) : [];
    return [...learning, ...training].map(Number).join('');
  }
}

/** @throws ConfigError where the steps of a configuration cannot be recorded, with the reason */
export function checkRecordable({ MODEL, SOLVER }: Config): void {
  const reasons: (string | false)[] = [
    !MODEL.DEVICE.startsWith('cuda') && `MODEL.DEVICE is '${MODEL.DEVICE}', and CUDA graphs are for CUDA`,
    torch.distributed.getWorldSize() > 1 && 'gradients averaged over processes (--num-gpus) are not recorded',
    !['Adam', 'AdamW', 'SGD'].includes(SOLVER.OPT) &&
      `SOLVER.OPT is '${SOLVER.OPT}', whose steps read values back; Adam, AdamW and SGD do not`,
    MODEL.BACKBONE.SIE_CAMERAS > 0 &&
      'MODEL.BACKBONE.SIE_CAMERAS: the cameras of each batch are looked at on the CPU',
  ];
  const reason = reasons.find((text) => text !== false);
  if (reason) {
    throw new ConfigError(`SOLVER.CUDA_GRAPH: steps cannot be recorded: ${reason}`, 'SOLVER.CUDA_GRAPH');
  }
}
