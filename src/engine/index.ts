export {
  type AMPOptimizer,
  type AMPOptions,
  AMPTrainer,
  buildStepper,
  NonFiniteGradientError,
} from './amp-trainer.js';
export { AveragedWeights } from './averaged-weights.js';
export { type StatsBatch, trainedBatchNorms, updateBnStats } from './bn-stats.js';
export { disposeCaptured, noteUnseen, putCaptured, saveCaptured } from './captured.js';
export { type Checkpointable, Checkpointer, type CheckpointModel, type Extra } from './checkpoint.js';
export { DefaultPredictor, type EmbedOptions, type PredictorOptions } from './default-predictor.js';
export { defaultSetup, resolveDevice, type SetupOptions } from './default-setup.js';
export { DefaultTrainer, type TrainerOptions } from './default-trainer.js';
export { environmentSummary, packageVersion } from './environment.js';
export {
  EventStorage,
  type EventWriter,
  getEventStorage,
  type Picture,
  pictureOf,
  ScalarHistory,
  withEventStorage,
} from './events.js';
export { type ExplainableModel, type Explanation, explainPair, type PictureMaps } from './explain.js';
export {
  colourMap,
  drawOver,
  type ExplainedMatch,
  explanationPicture,
  type ShownPicture,
} from './explain-picture.js';
export * as hooks from './hooks/index.js';
export { type ImageBatch, type ImageBatchOptions, imageBatches } from './image-batches.js';
export { isRank, isRestart, LaunchError, type LaunchOptions, launch } from './launch.js';
export type { LoadReport } from './load-report.js';
export { type ProfileReportOptions, profileReport, type StepTimes } from './profile-report.js';
export { type RunChart, type RunMetrics, readMetrics, runCharts, runPage } from './run-report.js';
export { seedAll } from './seed.js';
export { signalExitCode, stopOnSignals } from './signals.js';
export {
  disposeBatch,
  NonFiniteLossError,
  SimpleTrainer,
  type StepOptimizer,
  type TrainableModel,
} from './simple-trainer.js';
export { HookBase, type HookState, type Outcome, type Schedule, TrainerBase } from './train-loop.js';
export { ConsoleWriter } from './writers/console.js';
export { JsonWriter } from './writers/json.js';
export { TensorBoardWriter } from './writers/tensorboard.js';
