import { ConfigError } from './errors.js';
import { type Config, getCfg } from './global.js';
import { repr } from './pyvalue.js';

/**
 * What FastReID's keys ask for and this version cannot do yet. Files that use these keys load; building something
 * from them is refused, key by key, until the line here can go. Parameters of a feature that is switched off
 * (`TEST.RERANK.K1` while `TEST.RERANK.ENABLED` is False) do no harm and are not refused.
 */
interface Gap {
  readonly key: string;
  /** Whether the value asks for what is missing. */
  readonly asks: (value: unknown) => boolean;
  readonly what: string;
}

/** One key that asks for what is not there yet. */
export interface Refusal {
  readonly key: string;
  readonly message: string;
}

/**
 * Names, parted by blanks, that FastReID knows and we do not yet. Names that neither knows are left to the
 * registries, which users extend.
 */
function names(text: string): Gap['asks'] {
  const missing = text.trim().split(/\s+/);
  return (value) => (Array.isArray(value) ? value : [value]).some((name) => missing.includes(name));
}

const OPTIMIZERS = names('Adafactor LBFGS Muon SparseAdam');

const GAPS: readonly Gap[] = [{ key: 'SOLVER.OPT', asks: OPTIMIZERS, what: 'this optimizer' }];

const COMPAT_MODES = ['', 'fastreid'];

function refusal(key: string, cfg: Config, defaults: Config): string | undefined {
  const way = `default ${repr(defaults.getPy(key))}`;
  const value = cfg.get(key);
  const shown = repr(cfg.getPy(key));
  if (value === null) return `${key} is None, but a value is needed (${way})`;
  if (key === 'COMPAT' && !COMPAT_MODES.includes(String(value))) {
    return `COMPAT is ${shown}, but can only be empty or "fastreid"`;
  }
  const gap = GAPS.find((one) => one.key === key);
  if (!gap?.asks(value)) return undefined;
  return `${key} is ${shown}, which is not there yet: ${gap.what} (${way})`;
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
