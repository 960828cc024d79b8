import { type Ids, Matches } from './matches.js';

/**
 * CMC with one gallery image of each identity (single-gallery-shot, as CUHK03 is evaluated), which is elsewhere
 * measured by drawing galleries at random and averaging. Here it is the exact mean over all draws: a drawn match is
 * each of the query's matches alike, and each other identity is ahead of it with the chance that its image is, which
 * is the share of its images that are; how many are ahead then has a Poisson binomial distribution.
 */
export class SingleShot {
  readonly #matches: Matches;
  /** Identities numbered from 0, one for each gallery image, and how many images each has. */
  readonly #identity: Int32Array;
  readonly #sizes: number[] = [];
  readonly #cmc: Float64Array;
  readonly #chances: Float64Array;
  #queries = 0;

  /** @param maxRank length of the curve */
  constructor(gPids: Ids, gCamids: Ids, maxRank: number) {
    this.#matches = new Matches(gPids, gCamids);
    this.#cmc = new Float64Array(maxRank);
    this.#chances = new Float64Array(maxRank);
    const numbers = new Map<number, number>();
    this.#identity = Int32Array.from({ length: gPids.length }, (_, g) => {
      const number = numbers.get(gPids[g]) ?? numbers.size;
      numbers.set(gPids[g], number);
      this.#sizes[number] = (this.#sizes[number] ?? 0) + 1;
      return number;
    });
  }

  /** @param distances of a query to the whole gallery */
  add(pid: number, camid: number, distances: ArrayLike<number>): void {
    const { hits } = this.#matches.of(pid, camid);
    if (hits.length === 0) return;
    this.#queries++;
    for (const hit of hits) this.#addMatch(hit, distances, 1 / hits.length);
  }

  #addMatch(hit: number, distances: ArrayLike<number>, weight: number): void {
    const own = this.#identity[hit];
    const ahead = new Int32Array(this.#sizes.length);
    const d = distances[hit];
    for (let g = 0; g < distances.length; g++) {
      if (distances[g] < d || (distances[g] === d && g < hit)) ahead[this.#identity[g]]++;
    }
    const chances = this.#chances.fill(0);
    chances[0] = 1;
    for (let i = 0; i < ahead.length; i++) {
      if (ahead[i] === 0 || i === own) continue;
      const p = ahead[i] / this.#sizes[i];
      for (let k = chances.length - 1; k > 0; k--) chances[k] += p * (chances[k - 1] - chances[k]);
      chances[0] *= 1 - p;
    }
    let upTo = 0;
    for (let k = 0; k < chances.length; k++) {
      upTo += chances[k];
      this.#cmc[k] += weight * upTo;
    }
  }

  /** Share of counted queries whose match is among the first r + 1, r = 0 … maxRank − 1; in [0, 1]. */
  result(): Float64Array {
    return this.#cmc.map((x) => x / this.#queries);
  }
}
