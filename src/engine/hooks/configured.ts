import { join } from 'node:path';
import type { Config } from '../../config/index.js';
import type { nn } from '../../torch/index.js';
import { CAPTURE_WORDS, REDUCTION_WORDS, readWords, SINK_WORDS } from '../capture-words.js';
import type { HookBase } from '../train-loop.js';
import { ActivationHealth } from './activation-health.js';
import { AutogradProfiler } from './autograd-profiler.js';
import { CaptureHook } from './capture.js';
import { NonFiniteDetector } from './non-finite.js';
import { ParameterHealth } from './parameter-health.js';

/**
 * The hooks that the section `HOOKS` of a configuration switches on. What they write goes to folders in OUTPUT_DIR.
 *
 * @param maxIter iterations of the whole training
 * @throws for a value that cannot be, with the name of its key
 */
export function configuredHooks(cfg: Config, model: nn.AnyModule, maxIter: number): HookBase[] {
  const { PARAMETERS, ACTIVATIONS, NON_FINITE, CAPTURE, PROFILER } = cfg.HOOKS;
  const folder = (name: string): string => join(cfg.OUTPUT_DIR, name);
  const hooks: HookBase[] = [];
  if (PARAMETERS.ENABLED) {
    checkCount('HOOKS.PARAMETERS.PERIOD', PARAMETERS.PERIOD);
    checkCount('HOOKS.PARAMETERS.DEPTH', PARAMETERS.DEPTH);
    hooks.push(new ParameterHealth({ model, every: PARAMETERS.PERIOD, depth: PARAMETERS.DEPTH }));
  }
  if (ACTIVATIONS.LAYERS.length > 0) {
    const { LAYERS: layers, PERIOD: every } = ACTIVATIONS;
    checkCount('HOOKS.ACTIVATIONS.PERIOD', every);
    hooks.push(about('HOOKS.ACTIVATIONS.LAYERS', () => new ActivationHealth({ model, layers, every })));
  }
  if (CAPTURE.LAYERS.length > 0) {
    const { LAYERS: layers, PERIOD: at } = CAPTURE;
    checkCount('HOOKS.CAPTURE.PERIOD', at);
    const what = about('HOOKS.CAPTURE.WHAT', () => readWords(CAPTURE_WORDS, CAPTURE.WHAT));
    const reduce = about('HOOKS.CAPTURE.REDUCE', () => readWords(REDUCTION_WORDS, CAPTURE.REDUCE));
    const to = about('HOOKS.CAPTURE.TO', () => readWords(SINK_WORDS, CAPTURE.TO));
    const options = { model, layers, what, reduce, at, to, folder: folder('capture') };
    hooks.push(about('HOOKS.CAPTURE.LAYERS', () => new CaptureHook(options)));
  }
  if (PROFILER.ITERS.length > 0) {
    const wrong = PROFILER.ITERS.find((iter) => !(Number.isInteger(iter) && iter >= 0 && iter < maxIter));
    if (wrong !== undefined) {
      throw new Error(`HOOKS.PROFILER.ITERS: ${wrong} is no iteration of 0 to ${maxIter - 1}`);
    }
    const chosen = new Set(PROFILER.ITERS);
    hooks.push(
      new AutogradProfiler({ model, when: ({ iter }) => chosen.has(iter), folder: folder('profile') }),
    );
  }
  if (NON_FINITE.ENABLED) hooks.push(new NonFiniteDetector({ model, folder: folder('nonfinite') }));
  return hooks;
}

function checkCount(key: string, value: number): void {
  if (!(Number.isInteger(value) && value > 0)) throw new Error(`${key} is ${value}; it must be 1 or more`);
}

/** Puts the key in front of what an error says. */
function about<T>(key: string, build: () => T): T {
  try {
    return build();
  } catch (cause) {
    throw new Error(`${key}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
