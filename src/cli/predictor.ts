import { type Command, InvalidArgumentError } from 'commander';
import type { Config } from '../config/index.js';
import { logger } from '../logger.js';
import type { FeatureSet } from '../retrieval/index.js';
import { UsageError } from './errors.js';
import { importOption } from './extensions.js';
import type { ImageSet } from './images.js';
import { positive } from './numbers.js';
import { loadConfig } from './overrides.js';

/** What it takes to turn images into features. */
export interface PredictorFlags {
  configFile?: string;
  weights?: string;
  batchSize?: number;
  deploy?: boolean;
  set?: string[];
  import?: string[];
}

/** Repeatable option: `--set KEY VALUE` cannot be told from image names, so it is `--set KEY=VALUE`. */
export function collect(pair: string, pairs: string[] = []): string[] {
  const at = pair.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('expected KEY=VALUE.');
  return [...pairs, pair.slice(0, at), pair.slice(at + 1)];
}

export function addPredictorOptions(command: Command): Command {
  return command
    .option('--config-file <file>', 'configuration of the model, in YAML')
    .option('--weights <file>', 'weights, .pth or .safetensors (default: MODEL.WEIGHTS)')
    .option('--batch-size <n>', 'images at a time (default: TEST.IMS_PER_BATCH)', positive)
    .option('--deploy', 'merge what can be merged (RepVGG): faster, equal but for rounding')
    .option('--set <key=value>', 'override a key of the configuration; may be repeated', collect)
    .addOption(importOption());
}

/** The configuration that the options describe. Says what is missing before anything is loaded. */
export async function predictorConfig(command: string, flags: PredictorFlags): Promise<Config> {
  if (flags.configFile === undefined)
    throw new UsageError(`${command} needs a model: give --config-file FILE`);
  const cfg = await loadConfig(flags.configFile, flags.set ?? []);
  if (flags.weights !== undefined) cfg.MODEL.WEIGHTS = flags.weights;
  if (!cfg.MODEL.WEIGHTS) {
    throw new UsageError(`${command} needs weights: give --weights FILE, or MODEL.WEIGHTS in the file`);
  }
  return cfg;
}

/**
 * Loads the model and computes the features of these images; with DATALOADER.SKIP_BROKEN of those that can be read.
 */
export async function embedImages(
  cfg: Config,
  { trainingCameras, ...images }: ImageSet,
  { deploy, batchSize }: PredictorFlags,
): Promise<FeatureSet> {
  const { assertSupported } = await import('../config/index.js');
  const { DefaultPredictor, resolveDevice } = await import('../engine/index.js');
  assertSupported(resolveDevice(cfg));
  const predictor = await DefaultPredictor.create(cfg, { deploy });
  const broken = new Set<number>();
  const features = await predictor.embed(images.paths, {
    batchSize,
    cameras: trainingCameras,
    onProgress: reporter(),
    onBroken: (row, message) => {
      broken.add(row);
      logger.warn(
        `'${images.paths[row]}' cannot be loaded (${message}) and is left out; ${broken.size} such so far`,
      );
    },
  });
  const set = { features, ...images, ...(cfg.TEST.FLIP.ENABLED && { mirrored: true }) };
  if (broken.size === 0) return set;
  const rows = images.paths.flatMap((_, row) => (broken.has(row) ? [] : [row]));
  if (rows.length === 0) throw new Error(`none of the ${broken.size} images could be read`);
  const { selectImages } = await import('../retrieval/index.js');
  return selectImages(set, rows);
}

/** Says how far it is: on a terminal in place, elsewhere not at all. */
export function reporter(): ((done: number, total: number) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  return (done, total) => process.stderr.write(`\r${done}/${total} images${done === total ? '\n' : ''}`);
}
