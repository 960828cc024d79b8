// biome-ignore-all lint/complexity/noThisInStatic: `this` is the subclass, whose builders must be the ones called
import { join } from 'node:path';
import type { Config } from '../config/index.js';
import {
  buildReidTestLoader,
  buildReidTrainLoader,
  type DataLoader,
  type TestLoader,
} from '../data/index.js';
import {
  buildEvaluator,
  checkEvaluation,
  EVALUATOR_REGISTRY,
  type NestedResults,
} from '../evaluation/index.js';
import { logger } from '../logger.js';
import { applyMemoryFormat, buildModel, type MetaArch } from '../modeling/index.js';
import {
  asksForFreezing,
  buildLrScheduler,
  buildOptimizer,
  freezingOf,
  frozenParts,
  type LearningRates,
} from '../solver/index.js';
import * as torch from '../torch/index.js';
import { AMPTrainer, buildStepper } from './amp-trainer.js';
import { trainedBatchNorms, updateBnStats } from './bn-stats.js';
import { Checkpointer, type Extra } from './checkpoint.js';
import { resolveDevice, saveConfig } from './default-setup.js';
import { evaluateOnTests, type TestSet } from './evaluate.js';
import type { EventWriter } from './events.js';
import { Forwarded } from './forwarded.js';
import {
  configuredHooks,
  EMA,
  EvalHook,
  IterationTimer,
  LayerFreeze,
  LRScheduler,
  PeriodicCheckpointer,
  PeriodicWriter,
  PreciseBN,
  ProgressBar,
  type SavePoint,
  SWA,
} from './hooks/index.js';
import {
  checkSameStart,
  gatherRandomStates,
  isMainProcess,
  Parallel,
  shard,
  shareBuffers,
} from './parallel.js';
import { currentSeed, seedAll } from './seed.js';
import type { SimpleTrainer } from './simple-trainer.js';
import { type HookBase, TrainerBase } from './train-loop.js';
import { captureState, type DataFacts, type Position, restoreState, STATE_KEY } from './training-state.js';
import { ConsoleWriter } from './writers/console.js';
import { JsonWriter } from './writers/json.js';
import { TensorBoardWriter } from './writers/tensorboard.js';

export interface TrainerOptions {
  /** Seed of the loader's order and transforms. Default: that of the last `seedAll`, else a random one. */
  seed?: number;
}

/** Constructor type, through which a subclass's static builders are reached. */
type TrainerClass = typeof DefaultTrainer;

/**
 * Training as the configuration says: builds loader, model, optimizer, learning rates, checkpointer and hooks in
 * this order, resumes or loads weights, trains, evaluates.
 *
 * ```ts
 * const trainer = new DefaultTrainer(cfg);
 * await trainer.resumeOrLoad({ resume: false });
 * const results = await trainer.train();
 * ```
 *
 * To change a part, subclass and override the method that builds it. It makes many assumptions; where they do not
 * hold, use `SimpleTrainer` with hooks of your own, or write the loop (`examples/plain_training_loop.ts`).
 */
export class DefaultTrainer extends TrainerBase {
  readonly cfg: Config;
  readonly model: MetaArch;
  readonly dataLoader: DataLoader;
  readonly optimizer: torch.optim.Optimizer;
  readonly learningRates: LearningRates;
  readonly checkpointer: Checkpointer;
  /** Results of the last evaluation. */
  lastEvalResults: NestedResults | undefined;
  private readonly stepper: SimpleTrainer;
  /** Of several processes: what they do together. */
  private readonly parallel: Parallel<never> | undefined;
  private readonly seed: number;
  /** Loaders of batches for batch norm statistics. */
  private readonly statsLoaders: DataLoader[] = [];
  private startPosition = { epoch: 0, iterInEpoch: 0 };

  constructor(cfg: Config, { seed = currentSeed() ?? seedAll() }: TrainerOptions = {}) {
    super();
    const self = this.constructor as TrainerClass;
    const resolved = resolveDevice(cfg);
    checkEvaluation(resolved); // not hours later
    this.seed = seed;
    this.dataLoader = self.buildTrainLoader(resolved, seed);
    this.cfg = self.autoScaleHyperparams(resolved, this.dataLoader.dataset.numClasses);
    this.model = self.buildModel(this.cfg);
    this.model.prepareTraining();
    applyMemoryFormat(this.model, this.cfg);
    this.optimizer = self.buildOptimizer(this.cfg, this.model);
    if (torch.distributed.getWorldSize() > 1) {
      this.parallel = new Parallel(this.model, (reason) => super.requestStop(reason));
    }
    this.stepper = this.buildStepper();
    if (this.parallel)
      this.stepper.share = (...figures) => (this.parallel as Parallel<never>).share(...figures);
    this.maxEpoch = this.cfg.SOLVER.MAX_EPOCH;
    this.itersPerEpoch = Math.floor(this.dataLoader.dataset.length / this.cfg.SOLVER.IMS_PER_BATCH);
    this.learningRates = self.buildLrScheduler(this.cfg, this.optimizer, this.itersPerEpoch);
    this.checkpointer = new Checkpointer(this.model, this.cfg.OUTPUT_DIR, {
      optimizer: this.optimizer,
      lr_sched: this.learningRates.lrSched,
      ...(this.learningRates.warmupSched && { warmup_sched: this.learningRates.warmupSched }),
      ...(this.stepper instanceof AMPTrainer &&
        this.stepper.gradScaler.enabled && { grad_scaler: this.stepper.gradScaler }),
      ...this.model.extraState(),
    });
    this.registerHooks(this.buildHooks());
  }

  /**
   * With `resume`, goes on from the last checkpoint in OUTPUT_DIR, where there is one: weights, optimizer, learning
   * rates, and, when this program wrote it, everything else, in mid-epoch too. Otherwise loads MODEL.WEIGHTS, if
   * set, and starts from the first iteration. Several processes must all find the same checkpoint.
   */
  async resumeOrLoad({ resume = true }: { resume?: boolean } = {}): Promise<void> {
    const resuming = resume && this.checkpointer.hasCheckpoint();
    if (resume && !resuming)
      logger.info(`No checkpoint in ${this.cfg.OUTPUT_DIR} to resume from: starting anew`);
    const extra = await this.checkpointer.resumeOrLoad(this.cfg.MODEL.WEIGHTS, { resume });
    if (resuming) this.startPosition = this.positionOf(extra);
    if (this.parallel) await checkSameStart({ resuming, ...this.startPosition }, this.cfg.OUTPUT_DIR);
  }

  /** Where a loaded checkpoint goes on; restores the state of training, when this program wrote it. */
  private positionOf(extra: Extra): Position {
    if (extra.has(STATE_KEY)) {
      return restoreState(extra.get(STATE_KEY), this, this.dataLoader, this.dataFacts());
    }
    // FastReID's own: it knows the last finished epoch, and nothing of generators or samplers.
    return { epoch: Number(extra.get('epoch') ?? -1) + 1, iterInEpoch: 0 };
  }

  /** Trains to the end and returns the last results; those of MODEL.WEIGHTS if nothing is left to train. */
  async train(): Promise<NestedResults | undefined> {
    const { epoch, iterInEpoch } = this.startPosition;
    if (epoch >= this.maxEpoch) {
      logger.info(`Training is complete: ${epoch} of ${this.maxEpoch} epochs are done. Evaluating`);
      return this.test();
    }
    await this.trainLoop({
      startEpoch: epoch,
      startIterInEpoch: iterInEpoch,
      maxEpoch: this.maxEpoch,
      itersPerEpoch: this.itersPerEpoch,
    });
    return this.lastEvalResults;
  }

  /** What does the steps: in mixed precision with SOLVER.AMP.ENABLED. */
  protected buildStepper(): SimpleTrainer {
    const model = (this.parallel?.model ?? this.model) as never;
    return buildStepper(this.cfg, model, this.dataLoader, this.optimizer);
  }

  /** Adds hooks before the one that writes, so that what they put is written. */
  override registerHooks(hooks: Iterable<HookBase | null | undefined>): void {
    const writer = this.hooks.findIndex((hook) => hook instanceof PeriodicWriter);
    const behind = writer < 0 ? [] : this.hooks.splice(writer);
    super.registerHooks(hooks);
    this.hooks.push(...behind);
  }

  protected override async runStep(): Promise<void> {
    this.stepper.iter = this.iter;
    this.stepper.storage = this.storage;
    await this.stepper.runStep();
  }

  override get lossScale(): number {
    return this.stepper.lossScale;
  }

  /** Of several processes, all leave the loop after the same step, whichever was asked to. */
  override requestStop(reason: string): boolean {
    if (this.parallel === undefined) return super.requestStop(reason);
    if (this.parallel.stopAsked !== undefined) return false;
    this.parallel.stopAsked = reason;
    return true;
  }

  /** Evaluates the model as it is on all of DATASETS.TESTS. */
  async test(): Promise<NestedResults> {
    shareBuffers(this.model);
    this.lastEvalResults = await (this.constructor as TrainerClass).test(this.cfg, this.model);
    return this.lastEvalResults;
  }

  /** Stops the loaders' prefetching, and averaging with other processes. The trainer cannot train afterwards. */
  async close(): Promise<void> {
    this.parallel?.close();
    await Promise.all([this.dataLoader, ...this.statsLoaders].map((loader) => loader.close()));
  }

  /**
   * The default hooks, in order: timing, learning rate, averages of the weights, precise batch norm, frozen layers,
   * those of the section HOOKS, evaluation, checkpoints, writers, progress bar.
   */
  protected buildHooks(): (HookBase | null)[] {
    const { TEST, SOLVER, DATASETS } = this.cfg;
    const hooks: (HookBase | null)[] = [
      new IterationTimer(),
      new LRScheduler(this.optimizer, this.learningRates),
      this.weightAverage(),
      this.preciseBn(),
      this.layerFreeze(),
      ...configuredHooks(this.cfg, this.model, this.maxEpoch * this.itersPerEpoch),
      new EvalHook(TEST.EVAL_PERIOD, () => this.test()),
      new PeriodicCheckpointer({
        period: SOLVER.CHECKPOINT_PERIOD,
        metricName: DATASETS.TESTS.length === 1 ? 'metric' : `${DATASETS.TESTS[0]}/metric`,
        save: (name, at) => this.saveCheckpoint(name, at),
      }),
      // Without writers, too, it lets go of the pictures and histograms that were put.
      new PeriodicWriter(() => (isMainProcess() ? this.buildWriters() : []), 200),
      isMainProcess() && process.stdout.isTTY ? new ProgressBar() : null,
    ];
    // The inner trainer has no hooks but this one: gradients are ours to show.
    this.stepper.registerHooks([new Forwarded(this)]);
    return hooks;
  }

  /** The hook of `SOLVER.EMA` or `SOLVER.SWA`. */
  private weightAverage(): HookBase | null {
    const { EMA: ema, SWA: swa, MAX_EPOCH } = this.cfg.SOLVER;
    if (ema.ENABLED && swa.ENABLED) {
      throw new Error('SOLVER.EMA and SOLVER.SWA both average the weights: switch one of them off');
    }
    if (ema.ENABLED) return new EMA(this.model, ema.MOMENTUM);
    if (!swa.ENABLED) return null;
    // PreciseBN comes next and does it too.
    const ownBn = !this.cfg.TEST.PRECISE_BN.ENABLED && trainedBatchNorms(this.model).length > 0;
    const batches = ownBn ? this.statsLoader(this.cfg) : undefined;
    return new SWA({
      model: this.model,
      optimizer: this.optimizer,
      startEpoch: swa.START_EPOCH || Math.floor(MAX_EPOCH * 0.75),
      period: swa.PERIOD,
      lrFactor: swa.LR_FACTOR,
      updateBn: batches && (() => updateBnStats(this.model, batches, this.itersPerEpoch)),
    });
  }

  private preciseBn(): HookBase | null {
    const { ENABLED, DATASET, NUM_ITER } = this.cfg.TEST.PRECISE_BN;
    if (!ENABLED) return null;
    if (trainedBatchNorms(this.model).length === 0) {
      logger.info('TEST.PRECISE_BN has no effect: the model has no batch normalisation in training mode');
      return null;
    }
    const cfg = this.cfg.clone().defrost();
    cfg.DATASETS.NAMES = [DATASET];
    return new PreciseBN(this.model, this.statsLoader(cfg), NUM_ITER);
  }

  /** A loader of training batches beside the one that training takes its batches from. */
  private statsLoader(cfg: Config): DataLoader {
    const loader = (this.constructor as TrainerClass).buildTrainLoader(cfg, this.seed);
    this.statsLoaders.push(loader);
    return loader;
  }

  private layerFreeze(): HookBase | null {
    const { cfg, model } = this;
    if (!asksForFreezing(cfg)) return null;
    const names = cfg.MODEL.FREEZE_LAYERS;
    return new LayerFreeze({
      ...frozenParts(model, names, cfg),
      model,
      names,
      iterations: cfg.SOLVER.FREEZE_ITERS,
      freezing: freezingOf(this.optimizer),
      once: cfg.COMPAT === 'fastreid',
    });
  }

  /** Console, and metrics.json and TensorBoard's event file in OUTPUT_DIR. Called when training begins. */
  protected buildWriters(): EventWriter[] {
    const { startIter, cfg } = this;
    return [
      new ConsoleWriter(this.maxIter),
      new JsonWriter(join(cfg.OUTPUT_DIR, 'metrics.json'), { startIter }),
      new TensorBoardWriter(cfg.OUTPUT_DIR, { startIter }),
    ];
  }

  private async saveCheckpoint(name: string, { metric, epochDone }: SavePoint): Promise<string> {
    const position = epochDone
      ? { epoch: this.epoch + 1, iterInEpoch: 0 }
      : { epoch: this.epoch, iterInEpoch: this.iterInEpoch };
    const ranks = this.parallel && (await gatherRandomStates(this.dataLoader));
    const path = isMainProcess()
      ? await this.checkpointer.save(name, {
          // For FastReID this is the last epoch that is over; it resumes at the next one.
          epoch: position.epoch - 1,
          metric: torch.pyFloat(metric),
          [STATE_KEY]: captureState(this, position, this.dataLoader, this.dataFacts(), ranks),
        })
      : '';
    // A rank that ended while the file is being written would look like a failure.
    if (this.parallel) await torch.distributed.worldGroup().barrier();
    return path;
  }

  private dataFacts(): DataFacts {
    const { dataset } = this.dataLoader;
    return { images: dataset.length, identities: dataset.numClasses, batch: this.cfg.SOLVER.IMS_PER_BATCH };
  }

  static buildTrainLoader(cfg: Config, seed: number): DataLoader {
    logger.info('Prepare training set');
    return buildReidTrainLoader(cfg, { seed, ...shard() });
  }

  static buildTestLoader(cfg: Config, datasetName: string): TestLoader {
    const { classes } = EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR);
    return buildReidTestLoader(cfg, datasetName, { ...shard(), classes });
  }

  static buildModel(cfg: Config): MetaArch {
    const model = buildModel(cfg, logger.info);
    logger.detail(`Model:\n${model}`);
    return model;
  }

  static buildOptimizer(cfg: Config, model: MetaArch): torch.optim.Optimizer {
    return buildOptimizer(cfg, model);
  }

  static buildLrScheduler(
    cfg: Config,
    optimizer: torch.optim.Optimizer,
    itersPerEpoch: number,
  ): LearningRates {
    return buildLrScheduler(cfg, optimizer, itersPerEpoch);
  }

  static buildEvaluator(cfg: Config, datasetName: string): TestSet {
    const { loader, protocol, cameraName } = this.buildTestLoader(cfg, datasetName);
    const imageName = (index: number): string => loader.dataset.items[index].imgPath;
    return { loader, evaluator: buildEvaluator(cfg, { protocol, imageName, cameraName }) };
  }

  /** Evaluates a model on each of DATASETS.TESTS: see `evaluateOnTests`. */
  static async test(cfg: Config, model: MetaArch): Promise<NestedResults> {
    return evaluateOnTests(cfg, model, (name) => this.buildEvaluator(cfg, name));
  }

  /** Builds the model, loads MODEL.WEIGHTS and evaluates: `--eval-only`. */
  static async evaluateOnly(cfg: Config): Promise<NestedResults> {
    const resolved = resolveDevice(cfg).clone().defrost();
    if (!resolved.MODEL.WEIGHTS) {
      throw new Error(
        'evaluation needs weights: add MODEL.WEIGHTS <file.pth>, or leave out --eval-only to train',
      );
    }
    checkEvaluation(resolved);
    resolved.MODEL.BACKBONE.PRETRAIN = false;
    const model = this.buildModel(resolved);
    await new Checkpointer(model).load(resolved.MODEL.WEIGHTS);
    applyMemoryFormat(model, resolved);
    return this.test(resolved, model);
  }

  /**
   * Fills in what follows from the data: NUM_CLASSES where it is 0. The saved config.yaml is brought up to date.
   *
   * @returns a copy of `cfg`, frozen as it was
   */
  static autoScaleHyperparams(cfg: Config, numClasses: number): Config {
    if (cfg.MODEL.HEADS.NUM_CLASSES !== 0) return cfg;
    const scaled = cfg.clone().defrost();
    scaled.MODEL.HEADS.NUM_CLASSES = numClasses;
    logger.info(`Auto-scaling the number of classes: MODEL.HEADS.NUM_CLASSES = ${numClasses}`);
    saveConfig(scaled);
    return cfg.isFrozen() ? scaled.freeze() : scaled;
  }
}
