import { ConfigError } from './errors.js';
import { type Config, getCfg } from './global.js';
import { repr } from './pyvalue.js';

/** One key whose value cannot be used. */
export interface Refusal {
  readonly key: string;
  readonly message: string;
}

/**
 * PyTorch's optimizers that cannot train a network here, nor in FastReID, which would take any name. Names that
 * PyTorch does not know either are left to the registry, which users extend.
 */
const UNFIT_OPTIMIZERS: Readonly<Record<string, string>> = {
  LBFGS: 'it computes the loss several times a step',
  Muon: 'it takes matrices only, neither biases nor convolutions',
  SparseAdam: 'it takes sparse gradients only',
};

const COMPAT_MODES = ['', 'fastreid'];

function refusal(key: string, cfg: Config, defaults: Config): string | undefined {
  const way = `default ${repr(defaults.getPy(key))}`;
  const value = cfg.get(key);
  const shown = repr(cfg.getPy(key));
  if (value === null) return `${key} is None, but a value is needed (${way})`;
  if (key === 'COMPAT' && !COMPAT_MODES.includes(String(value))) {
    return `COMPAT is ${shown}, but can only be empty or "fastreid"`;
  }
  const reason = key === 'SOLVER.OPT' ? UNFIT_OPTIMIZERS[String(value)] : undefined;
  return reason === undefined
    ? undefined
    : `${key} is ${shown}, which cannot train a network: ${reason} (${way})`;
}

/** Keys of a configuration that ask for what this version cannot do, in the order of the tree. */
export function unsupported(cfg: Config): Refusal[] {
  const defaults = getCfg();
  const refusals: Refusal[] = [];
  // Keys a project has added are the project's own business.
  for (const key of defaults.paths().filter((path) => cfg.has(path))) {
    const message = refusal(key, cfg, defaults);
    if (message) refusals.push({ key, message });
  }
  return refusals;
}

/**
 * To be called before anything is built from a configuration.
 * @throws ConfigError that names every key asking for something this version cannot do
 */
export function assertSupported(cfg: Config): void {
  const refusals = unsupported(cfg);
  if (refusals.length === 0) return;
  const lines = refusals.map(({ message }) => `  ${message}`).join('\n');
  throw new ConfigError(`the configuration asks for what this version cannot do:\n${lines}`, refusals[0].key);
}
