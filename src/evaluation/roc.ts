import { FloatCounts } from './counts.js';
import { type Ids, Matches } from './matches.js';

/** False accept rates at which the true accept rate is reported. */
export const FALSE_ACCEPT_RATES: readonly number[] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1];

/** A point of operation: pairs no further apart than the threshold are taken for the same identity. */
export interface OperatingPoint {
  /** The false accept rate asked for. */
  far: number;
  /** The greatest true accept rate whose false accept rate is no greater than that; in [0, 1]. */
  tar: number;
  /** Its threshold, a distance; null where even the nearest genuine pair lets too many impostors in. */
  threshold: number | null;
}

export interface RocResult {
  /** Pairs of the same identity from different cameras. */
  genuine: number;
  /** Pairs of different identities. */
  impostor: number;
  points: OperatingPoint[];
  /** Where as many genuine pairs are refused as impostors accepted, in [0, 1]; between two points, in proportion. */
  eer: number;
  eerThreshold: number;
  /** Chance that a genuine pair is nearer than an impostor pair; equally near ones count one half. */
  auc: number;
  /** The curve at each distance of a genuine pair, ascending; it goes up nowhere else. */
  curve: { threshold: Float32Array; far: Float64Array; tar: Float64Array };
}

export interface DistanceHistogram {
  /** Borders of the bins, one more than there are bins. */
  edges: Float64Array;
  genuine: Float64Array;
  impostor: Float64Array;
}

/**
 * Verification figures from the distances of all pairs of query and gallery image, a row at a time. Pairs of the
 * same identity and camera are left out. Everything is exact; memory holds the genuine distances and counts of the
 * impostors' (see {@link FloatCounts}).
 */
export class RocAccumulator {
  readonly #matches: Matches;
  readonly #impostors = new FloatCounts();
  readonly #notImpostor: Uint8Array;
  #genuine = new Float32Array(1024);
  #count = 0;

  constructor(gPids: Ids, gCamids: Ids) {
    this.#matches = new Matches(gPids, gCamids);
    this.#notImpostor = new Uint8Array(gPids.length);
  }

  /** @param distances of one query to all gallery images, in gallery order */
  add(pid: number, camid: number, distances: Float32Array): void {
    const { hits, removed } = this.#matches.of(pid, camid);
    const same = this.#notImpostor;
    for (const g of hits) {
      same[g] = 1;
      // Not-a-number comes last, as in rankings; the sum makes a 0 of −0.
      this.#push(Number.isNaN(distances[g]) ? Infinity : distances[g] + 0);
    }
    for (const g of removed) same[g] = 1;
    this.#impostors.addRow(distances, same);
    for (const g of hits) same[g] = 0;
    for (const g of removed) same[g] = 0;
  }

  #push(distance: number): void {
    if (this.#count === this.#genuine.length) {
      const larger = new Float32Array(2 * this.#count);
      larger.set(this.#genuine);
      this.#genuine = larger;
    }
    this.#genuine[this.#count++] = distance;
  }

  /** Distances of the genuine pairs, ascending. */
  #sorted(): Float32Array {
    const sorted = this.#genuine.slice(0, this.#count).sort();
    if (sorted.length === 0 || this.#impostors.total === 0) {
      throw new Error(
        `ROC needs pairs of the same identity from different cameras and pairs of different identities; ` +
          `there are ${sorted.length} and ${this.#impostors.total}`,
      );
    }
    return sorted;
  }

  /** @throws Error when there are no genuine or no impostor pairs */
  result(rates: readonly number[] = FALSE_ACCEPT_RATES): RocResult {
    const steps = this.#steps();
    const { threshold, upTo, below, through } = steps;
    const genuine = this.#count;
    const impostor = this.#impostors.total;
    let auc = 0;
    let before = 0;
    for (let i = 0; i < threshold.length; i++) {
      auc += (upTo[i] - before) * (impostor - (below[i] + through[i]) / 2);
      before = upTo[i];
    }
    const points = rates.map((far) => {
      // A little more than the product, which may have been rounded down.
      const most = far * impostor * (1 + 1e-12);
      let last = -1;
      while (last + 1 < threshold.length && through[last + 1] <= most) last++;
      return last < 0
        ? { far, tar: 0, threshold: null }
        : { far, tar: upTo[last] / genuine, threshold: threshold[last] };
    });
    return {
      genuine,
      impostor,
      points,
      ...equalErrorRate(steps, genuine, impostor),
      auc: auc / genuine / impostor,
      curve: { threshold, far: through.map((x) => x / impostor), tar: upTo.map((x) => x / genuine) },
    };
  }

  /** Genuine pairs up to, and impostor pairs below and up to, each distance that a genuine pair has. */
  #steps(): Steps {
    const sorted = this.#sorted();
    const distinct = sorted.filter((d, i) => i === 0 || d !== sorted[i - 1]);
    const upTo = new Float64Array(distinct.length);
    const below = new Float64Array(distinct.length);
    const through = new Float64Array(distinct.length);
    for (let i = 0, at = 0; i < distinct.length; i++) {
      while (at < sorted.length && sorted[at] === distinct[i]) at++;
      upTo[i] = at;
    }
    let next = 0;
    let seen = 0;
    const pass = (limit: number): void => {
      while (next < distinct.length && distinct[next] < limit) {
        below[next] = seen;
        through[next++] = seen;
      }
    };
    this.#impostors.forEach((value, count) => {
      pass(value);
      if (distinct[next] === value) {
        below[next] = seen;
        through[next++] = seen + count;
      }
      seen += count;
    });
    pass(Infinity);
    return { threshold: distinct, upTo, below, through };
  }

  /** How many pairs are how far apart, in `bins` bins of equal width from the nearest pair to the furthest. */
  histogram(bins = 100): DistanceHistogram {
    const sorted = this.#sorted();
    let least = sorted[0];
    let most = sorted[sorted.length - 1];
    this.#impostors.forEach((value) => {
      least = Math.min(least, value);
      most = Math.max(most, value);
    });
    const width = (most - least) / bins || 1;
    const bin = (value: number): number => Math.min(bins - 1, Math.floor((value - least) / width));
    const genuine = new Float64Array(bins);
    const impostor = new Float64Array(bins);
    for (const value of sorted) genuine[bin(value)]++;
    this.#impostors.forEach((value, count) => {
      impostor[bin(value)] += count;
    });
    return { edges: Float64Array.from({ length: bins + 1 }, (_, i) => least + i * width), genuine, impostor };
  }

  /**
   * FastReID's figures, which take impostors for what is to be detected: the share of impostors at least as far
   * apart as a threshold, at the first point of the curve whose share of such genuine pairs is nearest to `rate`.
   * As in scikit-learn, points on a straight line between their neighbours are no points of the curve.
   */
  compatRates(rates: readonly number[] = [1e-4, 1e-3, 1e-2]): number[] {
    const genuine = this.#sorted().reverse();
    const impostors = this.#impostors.total;
    const best = rates.map((rate) => ({ rate, off: rate, tpr: 0 }));
    const keep = ({ fp, tp }: Counted): void => {
      for (const one of best) {
        const off = Math.abs(fp / genuine.length - one.rate);
        if (off < one.off) Object.assign(one, { off, tpr: tp / impostors });
      }
    };
    let points = 0;
    let last: Counted = { fp: 0, tp: 0 };
    let lastButOne = last;
    const point = (now: Counted): void => {
      const bends =
        now.fp - last.fp !== last.fp - lastButOne.fp || now.tp - last.tp !== last.tp - lastButOne.tp;
      if (points === 1 || (points > 1 && bends)) keep(last);
      points++;
      lastButOne = last;
      last = now;
    };
    let [fp, tp] = [0, 0];
    const genuineDownTo = (limit: number, including: boolean): void => {
      while (fp < genuine.length && (genuine[fp] > limit || (including && genuine[fp] === limit))) {
        const value = genuine[fp];
        while (genuine[fp] === value) fp++;
        if (value > limit) point({ fp, tp });
      }
    };
    this.#impostors.forEach(
      (value, count) => {
        genuineDownTo(value, false);
        tp += count;
        genuineDownTo(value, true);
        point({ fp, tp });
      },
      { descending: true },
    );
    genuineDownTo(-Infinity, false);
    keep(last);
    return best.map(({ tpr }) => tpr);
  }
}

interface Counted {
  fp: number;
  tp: number;
}

interface Steps {
  threshold: Float32Array;
  upTo: Float64Array;
  below: Float64Array;
  through: Float64Array;
}

/** Where the curve of refused genuine pairs crosses that of accepted impostors. */
function equalErrorRate(
  { threshold, upTo, below, through }: Steps,
  genuine: number,
  impostor: number,
): { eer: number; eerThreshold: number } {
  let refused = 1;
  for (let i = 0; ; i++) {
    const [from, to] = [below[i] / impostor, through[i] / impostor];
    // Between two genuine distances only impostors come in.
    if (from >= refused) return { eer: refused, eerThreshold: threshold[Math.max(0, i - 1)] };
    const next = 1 - upTo[i] / genuine;
    if (to >= next) {
      const along = (refused - from) / (to - from + (refused - next));
      return { eer: from + along * (to - from), eerThreshold: threshold[i] };
    }
    refused = next;
  }
}
