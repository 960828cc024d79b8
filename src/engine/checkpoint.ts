import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { removeLeftovers, writeFileAtomic } from './files.js';
import { formatLoadReport, type LoadReport } from './load-report.js';

/** A thing with state besides the model: optimizer, scheduler. */
export interface Checkpointable {
  stateDict(): unknown;
  loadStateDict(state: never): unknown;
}

/** What the checkpointer needs of a model. */
export interface CheckpointModel {
  stateDict(): Map<string, Tensor>;
  loadStateDict(state: Map<string, Tensor>, options: { strict: boolean }): LoadReport;
}

/** What a checkpoint held beyond what was loaded into model, optimizer and schedulers. */
export type Extra = Map<string, unknown>;

const POINTER = 'last_checkpoint';

/**
 * Saves and loads model, optimizer and schedulers as `.pth` files that FastReID reads, and whose FastReID
 * counterparts are read here: a dict with `model` (a state dict), one entry for each checkpointable, and whatever
 * else is given to `save`. The text file `last_checkpoint` names the file written last.
 *
 * Both are written to a temporary name, synced and renamed, the pointer after the file: whenever a process dies,
 * `last_checkpoint` names a complete file.
 */
export class Checkpointer {
  readonly model: CheckpointModel;
  readonly saveDir: string;
  readonly checkpointables: Readonly<Record<string, Checkpointable>>;
  /** Path of what the last `save` wrote, or undefined before any. */
  lastSaved: string | undefined;
  /** What the last `load` put into the model, or undefined before any. */
  lastReport: LoadReport | undefined;

  /** @param saveDir folder for checkpoints; made when needed. Empty: nothing is saved. */
  constructor(model: CheckpointModel, saveDir = '', checkpointables: Record<string, Checkpointable> = {}) {
    this.model = model;
    this.saveDir = saveDir;
    this.checkpointables = checkpointables;
  }

  /** Writes `<saveDir>/<name>.pth` and points `last_checkpoint` at it. Returns the path, '' without a folder. */
  async save(name: string, extra: Record<string, unknown> = {}): Promise<string> {
    if (!this.saveDir) return '';
    mkdirSync(this.saveDir, { recursive: true });
    removeLeftovers(this.saveDir);
    const content = new Map<string, unknown>([['model', this.model.stateDict()]]);
    for (const [key, part] of Object.entries(this.checkpointables)) content.set(key, part.stateDict());
    for (const [key, value] of Object.entries(extra)) content.set(key, value);
    const file = `${name}.pth`;
    const path = join(this.saveDir, file);
    logger.info(`Saving checkpoint to ${path}`);
    await torch.save(content, path);
    writeFileAtomic(join(this.saveDir, POINTER), file);
    this.lastSaved = path;
    return path;
  }

  hasCheckpoint(): boolean {
    return this.saveDir !== '' && existsSync(join(this.saveDir, POINTER));
  }

  /** Path of the file that `last_checkpoint` names. Throws when there is none, or when it names a lost file. */
  getCheckpointFile(): string {
    const pointer = join(this.saveDir, POINTER);
    if (!this.hasCheckpoint()) throw new Error(`no checkpoint to resume from: ${pointer} does not exist`);
    const path = join(this.saveDir, basename(readFileSync(pointer, 'utf8').trim()));
    if (existsSync(path)) return path;
    throw new Error(
      `${pointer} names ${path}, which does not exist; write the name of another .pth file of that folder into ` +
        `${pointer}, or delete it to start anew`,
    );
  }

  /** Resumes from the last checkpoint where there is one and `resume` is set, else loads weights from `path`. */
  async resumeOrLoad(path: string, { resume = true }: { resume?: boolean } = {}): Promise<Extra> {
    if (resume && this.hasCheckpoint()) return this.load(this.getCheckpointFile());
    return this.load(path, { checkpointables: [] });
  }

  /**
   * Loads a `.pth` or `.safetensors` file into the model, and prints what fitted. An empty path loads nothing.
   * Parameters of another shape (the classifier of a set with another number of identities) are skipped with a
   * note. A bare state dict, as torchvision publishes, is taken as a model.
   *
   * @param options.checkpointables names of the other parts to load. Default: all that the file has.
   * @returns what else the file holds
   */
  async load(path: string, options: { checkpointables?: string[] } = {}): Promise<Extra> {
    if (!path) {
      logger.info('No checkpoint given: the model starts from its initialisation');
      return new Map();
    }
    if (!existsSync(path)) throw new Error(`checkpoint ${resolve(path)} does not exist (MODEL.WEIGHTS)`);
    logger.info(`Loading checkpoint from ${path}`);
    const content = await readCheckpoint(path);
    const model = content.get('model') as Map<string, Tensor>;
    content.delete('model');
    this.lastReport = this.model.loadStateDict(model, { strict: false });
    for (const line of formatLoadReport(this.lastReport)) (line.warn ? logger.warn : logger.info)(line.text);
    if (this.lastReport.loaded.length === 0) {
      throw new Error(
        `nothing in ${path} fits this model; are MODEL.BACKBONE.NAME and DEPTH those it was made with?`,
      );
    }
    for (const key of options.checkpointables ?? Object.keys(this.checkpointables)) {
      if (!content.has(key)) continue;
      logger.info(`Loading ${key} from ${path}`);
      this.checkpointables[key].loadStateDict(content.get(key) as never);
      content.delete(key);
    }
    return content;
  }
}

async function readCheckpoint(path: string): Promise<Map<string, unknown>> {
  if (path.endsWith('.safetensors')) return new Map([['model', torch.loadSafetensors(path)]]);
  const content = await torch.load(path);
  if (!(content instanceof Map)) throw notACheckpoint(path, 'it does not hold a dict');
  const found = content.get('model') ?? content.get('state_dict');
  if (found instanceof Map) {
    const rest = new Map(content as Map<string, unknown>);
    rest.delete('state_dict');
    return rest.set('model', stateDict(found, path));
  }
  return new Map([['model', stateDict(content, path)]]);
}

/** Checks that all values are tensors and takes away the `module.` that data-parallel training leaves in names. */
function stateDict(raw: Map<unknown, unknown>, path: string): Map<string, Tensor> {
  const state = new Map<string, Tensor>();
  for (const [key, value] of raw) {
    if (typeof key !== 'string' || !(value instanceof torch.Tensor)) {
      throw notACheckpoint(path, `'${String(key)}' of its state dict is not a tensor`);
    }
    state.set(key, value);
  }
  const prefix = 'module.';
  if (state.size === 0 || ![...state.keys()].every((key) => key.startsWith(prefix))) return state;
  return new Map([...state].map(([key, value]) => [key.slice(prefix.length), value]));
}

function notACheckpoint(path: string, why: string): Error {
  return new Error(
    `${path} is not a checkpoint: ${why}. Expected a dict with a 'model' entry, or a state dict`,
  );
}
