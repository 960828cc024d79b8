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

/** Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours cost 1 each. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, before[j - 2] + 1);
      }
      row.push(best);
    }
    before = last;
    last = row;
  }
  return last[b.length];
}

/**
 * The known path a mistyped one most likely means, or undefined when none is close.
 * Same last part elsewhere in the tree (`BASE_LR` for `SOLVER.BASE_LR`) counts as very close; case does not matter.
 */
export function nearestPath(path: string, known: Iterable<string>): string | undefined {
  const wanted = path.toUpperCase();
  const wantedName = wanted.slice(wanted.lastIndexOf('.') + 1);
  const limit = Math.max(2, Math.floor(wantedName.length / 3));
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
