import { editDistance } from '../nearest.js';

/** An error in a configuration: names the full key path, where the value came from and, where possible, the way out. */
export class ConfigError extends Error {
  /** Full path of the key, such as `SOLVER.BASE_LR`; empty when the error concerns no single key. */
  readonly path: string;
  /** Where the value came from: a file name, `command line`, …; undefined when set from code. */
  readonly origin: string | undefined;

  constructor(message: string, path = '', origin?: string) {
    super(message);
    this.name = 'ConfigError';
    this.path = path;
    this.origin = origin;
  }
}

/** ` (from configs/x.yml)`, or nothing when there is no origin to name. */
export function fromWhere(origin: string | undefined): string {
  return origin ? ` (from ${origin})` : '';
}

/**
 * The known path a mistyped one most likely means, or undefined when none is close.
 * Same last part elsewhere in the tree (`BASE_LR` for `SOLVER.BASE_LR`) counts as very close; case does not matter.
 */
export function nearestPath(path: string, known: Iterable<string>): string | undefined {
  const wanted = path.toUpperCase();
  const wantedName = wanted.slice(wanted.lastIndexOf('.') + 1);
  const limit = Math.max(1, Math.floor(wantedName.length / 3));
  let best: string | undefined;
  let bestScore = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const upper = candidate.toUpperCase();
    const name = upper.slice(upper.lastIndexOf('.') + 1);
    const byName = editDistance(wantedName, name);
    const byPath = editDistance(wanted, upper);
    // A slip in the name, or a slip anywhere in the path, is a candidate; the whole path decides between them.
    if (byName > limit && byPath > limit) continue;
    const score = Math.min(byName, byPath) + byPath / 1000;
    if (score < bestScore) {
      bestScore = score;
      best = candidate;
    }
  }
  return best;
}
