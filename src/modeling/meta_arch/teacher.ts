import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Config, ConfigError, getCfg } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { withoutDrawing } from '../layers/init.js';
import { readWeights } from '../weights.js';
import { Baseline } from './baseline.js';
import { buildModel, type ExtraState } from './build.js';

type Tensor = torch.Tensor;

/**
 * The teachers that `KD.MODEL_CONFIG` and `KD.MODEL_WEIGHTS` name, on the CPU. Paths are absolute or relative to the
 * working directory. Whatever a configuration says, its model is built as a Baseline.
 *
 * @param cfg the student's configuration
 * @throws ConfigError that names the key and the file: the lists do not go together, a file is missing, weights do not
 *   fit their configuration, a teacher knows other classes than the student
 */
export function loadTeachers(cfg: Config, log: Log): Baseline[] {
  const { MODEL_CONFIG: configs, MODEL_WEIGHTS: weights } = cfg.KD;
  if (configs.length !== weights.length) {
    throw new ConfigError(
      `KD.MODEL_CONFIG names ${configs.length} teachers and KD.MODEL_WEIGHTS ${weights.length}; each needs both`,
      'KD.MODEL_WEIGHTS',
    );
  }
  return configs.map((config, i) => loadTeacher(cfg, i, config, weights[i], log));
}

function loadTeacher(student: Config, i: number, config: string, weights: string, log: Log): Baseline {
  const configKey = `KD.MODEL_CONFIG[${i}]`;
  const weightsKey = `KD.MODEL_WEIGHTS[${i}]`;
  mustExist(configKey, config);
  mustExist(weightsKey, weights);
  const cfg = getCfg().mergeFromFile(config);
  const { HEADS } = cfg.MODEL;
  const classes = student.MODEL.HEADS.NUM_CLASSES;
  // A configuration written by hand leaves the number to the data, which are the student's.
  if (HEADS.NUM_CLASSES === 0) HEADS.NUM_CLASSES = classes;
  if (HEADS.NUM_CLASSES !== classes) {
    throw new ConfigError(
      `${configKey} (${config}): this teacher tells ${HEADS.NUM_CLASSES} identities apart, the student ${classes} ` +
        '(MODEL.HEADS.NUM_CLASSES). A teacher must have been trained on the identities the student learns',
      'KD.MODEL_CONFIG',
    );
  }
  if (student.COMPAT === 'fastreid') {
    // FastReID shows its teachers the images as they were normalised for the student.
    cfg.MODEL.PIXEL_MEAN = student.MODEL.PIXEL_MEAN;
    cfg.MODEL.PIXEL_STD = student.MODEL.PIXEL_STD;
  }
  const teacher = buildTeacher(cfg, log);
  const report = torch.scope(() =>
    teacher.loadStateDict(readWeights(weights, weightsKey), { strict: false }),
  );
  const wrong = [
    ...report.missing.map((key) => `${key} is missing in the file`),
    ...report.mismatched.map(({ key, expected, found }) => `${key} is [${expected}], in the file [${found}]`),
  ];
  if (wrong.length > 0) {
    const shown = wrong.slice(0, 10);
    if (wrong.length > shown.length) shown.push(`and ${wrong.length - shown.length} more`);
    throw new ConfigError(
      `${weightsKey} (${weights}) does not fit the model of ${configKey} (${config}):\n  ${shown.join('\n  ')}`,
      'KD.MODEL_WEIGHTS',
    );
  }
  log(`Teacher ${i + 1}: ${report.loaded.length} tensors from ${weights}`);
  return settle(teacher, student);
}

function mustExist(key: string, path: string): void {
  if (path !== '' && existsSync(path)) return;
  const what = path === '' ? 'is empty' : `names ${path}, but there is no file ${resolve(path)}`;
  throw new ConfigError(`${key} ${what}`, key.slice(0, key.indexOf('[')));
}

/** A model of the student's own configuration, on the CPU, with random weights. */
export function buildTwin(cfg: Config, log: Log): Baseline {
  return settle(buildTeacher(cfg.clone(), log), cfg);
}

/** Builds a Baseline as a configuration, which is altered, says, on the CPU and without weights from files. */
function buildTeacher(cfg: Config, log: Log): Baseline {
  const { MODEL } = cfg.defrost();
  MODEL.META_ARCHITECTURE = 'Baseline';
  MODEL.DEVICE = 'cpu';
  MODEL.BACKBONE.PRETRAIN = false;
  for (const part of [MODEL.BACKBONE, MODEL.HEADS]) if (part.NORM === 'syncBN') part.NORM = 'BN';
  // The student's run must not depend on who teaches, or on when it began.
  const model = withoutDrawing(() => buildModel(cfg, log));
  if (!(model instanceof Baseline)) throw new Error(`a teacher must be a Baseline, not a ${model.typeName}`);
  return model.requiresGrad_(false);
}

/**
 * Puts a teacher into the mode it stays in. Like the student it normalises by the batch's own statistics: features
 * that are to be alike must be normalised alike (so do Heo et al. 2019, arXiv 1904.01866). But nothing is
 * dropped at random, unless COMPAT asks for FastReID's way, which is training mode throughout.
 */
function settle(teacher: Baseline, student: Config): Baseline {
  if (student.COMPAT === 'fastreid') return teacher.train();
  teacher.eval();
  teacher.heads.train();
  for (const module of teacher.modules()) {
    if (module instanceof torch.nn.BatchNorm) module.train();
  }
  return teacher;
}

/**
 * A teacher whose weights are the moving average of the student's (Tarvainen & Valpola 2017, arXiv 1703.01780) and
 * whose buffers are the student's. It starts as the student is at the first update, whatever weights that has
 * loaded by then. Its state dict has the keys of a Baseline, or is empty before the first update.
 */
export class MovingAverage implements ExtraState {
  readonly model: Baseline;
  readonly momentum: number;
  #started = false;

  constructor(model: Baseline, momentum: number) {
    if (!(momentum >= 0 && momentum <= 1)) {
      throw new ConfigError(`KD.EMA.MOMENTUM is ${momentum}; it must lie between 0 and 1`, 'KD.EMA.MOMENTUM');
    }
    this.model = model;
    this.momentum = momentum;
  }

  /** `weights = momentum · weights + (1 − momentum) · student's`. */
  update(student: Baseline): void {
    const [own, others] = matching(this.model.namedParameters(), student.namedParameters());
    torch.noGrad(() => {
      if (!this.#started) {
        torch._foreach_copy_(own, others);
        this.copyBuffers(student);
        this.#started = true;
      }
      for (let i = 0; i < own.length; i += AT_ONCE) {
        approach(own.slice(i, i + AT_ONCE), others.slice(i, i + AT_ONCE), this.momentum);
      }
    });
  }

  /** Takes over the student's running statistics, and whatever buffers it has else. */
  copyBuffers(student: Baseline): void {
    const [own, others] = matching(this.model.namedBuffers(), student.namedBuffers());
    if (own.length > 0) torch.noGrad(() => torch._foreach_copy_(own, others));
  }

  stateDict(): Map<string, Tensor> {
    return this.#started ? this.model.stateDict() : new Map();
  }

  loadStateDict(state: Map<string, Tensor>): void {
    this.#started = state.size > 0;
    if (this.#started) this.model.loadStateDict(state);
  }
}

/** Tensors averaged at once: enough for a GPU, and few enough that the products take little memory. */
const AT_ONCE = 16;

/** `own = momentum · own + (1 − momentum) · others`, each product rounded by itself as in FastReID, unlike `lerp`'s. */
function approach(own: Tensor[], others: Tensor[], momentum: number): void {
  torch.scope(() => {
    torch._foreach_mul_(own, momentum);
    torch._foreach_add_(own, torch._foreach_mul(others, 1 - momentum));
  });
}

/** The tensors of `own` and, in the same order, those of the same names in `others`. */
function matching(own: Iterable<[string, Tensor]>, others: Iterable<[string, Tensor]>): [Tensor[], Tensor[]] {
  const byName = new Map(others);
  const pairs = [...own].map(([name, tensor]) => {
    const other = byName.get(name);
    if (other === undefined) throw new Error(`the student has no '${name}', which its moving average needs`);
    return [tensor, other];
  });
  return [pairs.map(([tensor]) => tensor), pairs.map(([, other]) => other)];
}
