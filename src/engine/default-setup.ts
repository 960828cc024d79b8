import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { assertSupported, type Config } from '../config/index.js';
import { logger, logToFile, setQuiet } from '../logger.js';
import * as torch from '../torch/index.js';
import { environmentSummary } from './environment.js';
import { writeFileAtomic } from './files.js';
import { RANK_ENV } from './launch.js';
import { ownDevice } from './own-device.js';
import { isMainProcess } from './parallel.js';
import { seedAll } from './seed.js';

export interface SetupOptions {
  /** The configuration file, whose text goes into the log. */
  configFile?: string;
  /** The command line's KEY VALUE words, for the log. */
  overrides?: readonly string[];
  /** Nothing will be trained: an existing config.yaml stays as it is. */
  evalOnly?: boolean;
  /** Seed of all random numbers. Default: a random one. */
  seed?: number;
}

/**
 * What every run begins with: refuses settings whose feature does not exist, opens OUTPUT_DIR with log.txt and
 * config.yaml, logs environment and configuration, and seeds the random generators.
 */
export function defaultSetup(cfg: Config, options: SetupOptions = {}): void {
  assertSupported(resolveDevice(cfg));
  if (cfg.OUTPUT_DIR) {
    mkdirSync(cfg.OUTPUT_DIR, { recursive: true });
    openLog(cfg.OUTPUT_DIR);
  }
  logger.info(`Environment:\n${environmentSummary()}`);
  if (options.overrides && options.overrides.length > 0) {
    logger.info(`Command line overrides: ${options.overrides.join(' ')}`);
  }
  if (options.configFile) {
    logger.detail(
      `Contents of ${options.configFile}:\n${readFileSync(options.configFile, 'utf8').trimEnd()}`,
    );
  }
  if (cfg.OUTPUT_DIR && !options.evalOnly) {
    saveConfig(cfg);
    logger.detail(`Running with full configuration:\n${cfg.dump()}`);
    logger.info(`Output, with full configuration and log: ${resolve(cfg.OUTPUT_DIR)}`);
  }
  // Evaluation alone sees images of one size a few times: FastReID does not time algorithms for it either.
  torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK && !options.evalOnly;
  const seed = seedAll(options.seed);
  if (options.seed !== undefined) logger.info(`Seed: ${seed}`);
}

/** log.txt; of several processes, rank 0's. The others print to `log.txt.rank1` and so on. */
function openLog(folder: string): void {
  const rank = torch.distributed.getRank();
  if (rank === 0) logToFile(join(folder, 'log.txt'));
  if (rank === 0 || process.env[RANK_ENV.errorFile] !== undefined) return; // a launcher of ours keeps what is printed
  logToFile(join(folder, `log.txt.rank${rank}`));
  setQuiet(true);
}

/** Writes config.yaml into OUTPUT_DIR, if there is one. */
export function saveConfig(cfg: Config): void {
  if (!cfg.OUTPUT_DIR || !isMainProcess()) return;
  mkdirSync(cfg.OUTPUT_DIR, { recursive: true });
  writeFileAtomic(join(cfg.OUTPUT_DIR, 'config.yaml'), cfg.dump());
}

let warned = false;

/**
 * The configuration with a device that exists: where MODEL.DEVICE asks for CUDA, as FastReID's default does, and
 * there is none, a copy with `cpu`, and a warning.
 */
export function resolveDevice(cfg: Config): Config {
  if (!cfg.MODEL.DEVICE.startsWith('cuda')) return cfg;
  if (torch.cuda.isAvailable()) return withOwnGpu(cfg);
  if (!warned)
    logger.warn(`MODEL.DEVICE is '${cfg.MODEL.DEVICE}', but no CUDA device is here: running on the CPU`);
  warned = true;
  const onCpu = cfg.clone().defrost();
  onCpu.MODEL.DEVICE = 'cpu';
  return cfg.isFrozen() ? onCpu.freeze() : onCpu;
}

/** The device for this process, alone or of several, which becomes the current one. */
function withOwnGpu(cfg: Config): Config {
  const alone = !torch.distributed.isInitialized();
  if (alone && cfg.MODEL.DEVICE === 'cuda') return cfg; // it is the current one
  const device = ownDevice(cfg.MODEL.DEVICE, {
    placement: alone ? undefined : torch.distributed.placementOf(),
    devices: torch.cuda.deviceCount(),
    launched: process.env[RANK_ENV.errorFile] !== undefined,
  });
  torch.cuda.setDevice(device);
  if (cfg.MODEL.DEVICE === device) return cfg;
  const own = cfg.clone().defrost();
  own.MODEL.DEVICE = device;
  return cfg.isFrozen() ? own.freeze() : own;
}
