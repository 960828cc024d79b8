import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { readWeights } from '../weights.js';

/** Where a backbone's ImageNet weights are published. */
export interface PublishedWeights {
  url: string;
  /** What the downloaded file is called, where the end of `url` does not say. */
  file?: string;
  /**
   * Brings the entries of a published file to the backbone's own names and shapes. A file of FastReID or of ours
   * holds them already and must come through unchanged.
   */
  convert?(state: Map<string, torch.Tensor>, model: torch.nn.AnyModule): Map<string, torch.Tensor>;
}

/** What loading pre-trained weights did: as `loadStateDict`, and what was left aside on purpose. */
export interface PretrainedReport extends torch.nn.LoadReport {
  path: string;
  /** Entries of the file that are no part of a backbone: classifiers, heads. */
  skipped: string[];
}

/**
 * Loads a backbone's weights from `path`, a `.pth` (PyTorch, torchvision or FastReID checkpoint) or
 * `.safetensors` file, and logs layer by layer what did not fit. With an empty `path`, the published file is
 * looked for in the caches that torchvision and FastReID download to; nothing is downloaded.
 *
 * @throws when there is no file (the message says where to get it), when it holds no state dict, or when not one
 *   tensor of it fits the model.
 */
export function loadPretrained(
  model: torch.nn.AnyModule,
  path: string,
  published: PublishedWeights,
  log: Log,
): PretrainedReport {
  const file = locate(path, published);
  const report = torch.scope(() => {
    const { state, skipped } = backboneState(file, new Set(model.stateDict().keys()));
    const fitting = published.convert?.(state, model) ?? state;
    return { ...model.loadStateDict(fitting, { strict: false }), path: file, skipped };
  });
  if (report.loaded.length === 0) {
    const found = report.unexpected.slice(0, 5).join(', ');
    throw new Error(
      `MODEL.BACKBONE.PRETRAIN_PATH: no tensor of ${file} fits the backbone; it holds ${found}, …`,
    );
  }
  for (const line of describe(report)) log(line);
  return report;
}

function locate(path: string, { url, file: fileName = basename(url) }: PublishedWeights): string {
  if (path !== '') {
    const file = path.startsWith('~/') ? join(homedir(), path.slice(2)) : path;
    if (existsSync(file)) return file;
    throw new Error(
      `MODEL.BACKBONE.PRETRAIN_PATH: there is no file ${file}. The weights are published at ${url}`,
    );
  }
  const cache =
    process.env.TORCH_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'torch');
  const places = ['hub/checkpoints', 'checkpoints'].map((folder) => join(cache, folder, fileName));
  const found = places.find((place) => existsSync(place));
  if (found !== undefined) return found;
  throw new Error(
    'MODEL.BACKBONE.PRETRAIN is True, but MODEL.BACKBONE.PRETRAIN_PATH is empty and the weights are in neither ' +
      `${places.join(' nor ')}. Download ${url} to one of these places or name the file by ` +
      'MODEL.BACKBONE.PRETRAIN_PATH; MODEL.BACKBONE.PRETRAIN False trains from scratch.',
  );
}

interface BackboneState {
  state: Map<string, torch.Tensor>;
  skipped: string[];
}

const CLASSIFIER = /^(fc|classifier|head|heads)\./;

/** The backbone's tensors in a file, without what comes before `backbone.`; `own` are the backbone's own names. */
function backboneState(file: string, own: ReadonlySet<string>): BackboneState {
  const all = readWeights(file, 'MODEL.BACKBONE.PRETRAIN_PATH');
  const inModel = [...all.keys()].some((key) => key.startsWith('backbone.'));
  const state = new Map<string, torch.Tensor>();
  const skipped: string[] = [];
  for (const [key, tensor] of all) {
    const name = key.startsWith('backbone.') ? key.slice('backbone.'.length) : key;
    const isClassifier = CLASSIFIER.test(name) && !own.has(name);
    if (isClassifier || (inModel && name === key)) skipped.push(key);
    else state.set(name, tensor);
  }
  return { state, skipped };
}

/** The report in words: one line when everything fitted, else one more a layer. */
function describe(report: PretrainedReport): string[] {
  const { loaded, missing, mismatched, unexpected, skipped, path } = report;
  const lines = [`Loaded ${loaded.length} tensors of pre-trained weights from ${path}`];
  for (const key of missing) lines.push(`  missing in the file, keeps its initial value: ${key}`);
  for (const { key, expected, found } of mismatched) {
    lines.push(
      `  of another shape, keeps its initial value: ${key} is [${expected}], in the file [${found}]`,
    );
  }
  for (const key of unexpected) lines.push(`  not in the backbone, ignored: ${key}`);
  if (skipped.length > 0) lines.push(`  no part of the backbone, ignored: ${skipped.join(', ')}`);
  return lines;
}
