import type { Neighbours } from './smallest.js';

/** Whole half of k1, halves to the even number, as NumPy rounds. */
export function halfOf(k1: number): number {
  const floor = Math.floor(k1 / 2);
  return k1 % 2 === 0 ? floor : floor + (floor % 2);
}

/** A family of sets of row numbers: that of row i is `members[start[i] … start[i + 1]]`, ascending. */
export interface Sets {
  readonly start: Float64Array;
  readonly members: Int32Array;
}

class SetsBuilder {
  readonly start: Float64Array;
  members: Int32Array;
  #sets = 0;
  #used = 0;

  constructor(count: number) {
    this.start = new Float64Array(count + 1);
    this.members = new Int32Array(Math.max(16, count * 8));
  }

  add(set: Int32Array): void {
    if (this.#used + set.length > this.members.length) {
      const larger = new Int32Array(Math.ceil(1.5 * (this.#used + set.length)));
      larger.set(this.members);
      this.members = larger;
    }
    this.members.set(set, this.#used);
    this.#used += set.length;
    this.start[++this.#sets] = this.#used;
  }

  finish(): Sets {
    return { start: this.start, members: this.members.subarray(0, this.#used) };
  }
}

/** K(i, k) = { j among i's first `width` neighbours that have i among their first `width` } of every row. */
function mutual({ k, indices }: Neighbours, width: number): Sets {
  const n = indices.length / k;
  const w = Math.min(width, k);
  const sets = new SetsBuilder(n);
  const found = new Int32Array(w);
  for (let i = 0; i < n; i++) {
    let count = 0;
    for (let a = 0; a < w; a++) {
      const j = indices[i * k + a];
      for (let b = j * k; b < j * k + w; b++) {
        if (indices[b] === i) {
          found[count++] = j;
          break;
        }
      }
    }
    sets.add(found.subarray(0, count).sort());
  }
  return sets.finish();
}

/**
 * The expanded k-reciprocal sets R*(i, k1) (Zhong et al. 2017, equation 2): K(i, k1), and K(c, k1 / 2) of each of
 * its members c that has more than two thirds of that in K(i, k1).
 *
 * @param neighbours of every row among all rows, itself included
 * @param k1 the paper's; sets of half the size look at `halfOf(k1) + 1` neighbours
 * @param width neighbours that K(i, k1) looks at: `k1 + 1` in the paper
 */
export function expandedReciprocalSets(neighbours: Neighbours, k1: number, width: number): Sets {
  const full = mutual(neighbours, width);
  const half = mutual(neighbours, halfOf(k1) + 1);
  const n = full.start.length - 1;
  const sets = new SetsBuilder(n);
  // The row for which a member was last marked: a set that needs no clearing.
  const inFull = new Int32Array(n).fill(-1);
  const inResult = new Int32Array(n).fill(-1);
  let result = new Int32Array(64);
  for (let i = 0; i < n; i++) {
    let count = 0;
    const take = (j: number): void => {
      if (inResult[j] === i) return;
      inResult[j] = i;
      if (count === result.length) {
        const larger = new Int32Array(2 * count);
        larger.set(result);
        result = larger;
      }
      result[count++] = j;
    };
    for (let a = full.start[i]; a < full.start[i + 1]; a++) {
      inFull[full.members[a]] = i;
      take(full.members[a]);
    }
    for (let a = full.start[i]; a < full.start[i + 1]; a++) {
      const c = full.members[a];
      const [from, to] = [half.start[c], half.start[c + 1]];
      let common = 0;
      for (let b = from; b < to; b++) if (inFull[half.members[b]] === i) common++;
      if (3 * common <= 2 * (to - from)) continue;
      for (let b = from; b < to; b++) take(half.members[b]);
    }
    sets.add(result.subarray(0, count).sort());
  }
  return sets.finish();
}
