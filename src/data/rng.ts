/** State of an {@link Rng}: four 32-bit words. Plain data, so that checkpoints can hold it. */
export type RngState = [number, number, number, number];

/**
 * Small deterministic generator of random numbers (xoshiro128**, Blackman and Vigna 2018), seeded through
 * splitmix32. Samplers and transforms draw from it, not from libtorch's generators: its state is four numbers,
 * and the same seed gives the same images on every device.
 */
export class Rng {
  #state: RngState;

  /** `stream` tells apart generators that share a seed, such as those of several processes. */
  constructor(seed: number, stream = 0) {
    if (!Number.isSafeInteger(seed)) throw new RangeError(`a seed must be a safe integer, got ${seed}`);
    // All 53 bits and the sign count: seeds 1 and 2 ** 32 + 1 must not give the same numbers.
    let x =
      (seed ^ Math.imul(Math.floor(seed / 2 ** 32) + 1, 0x85ebca6b) ^ Math.imul(stream, 0xc2b2ae35)) | 0;
    const word = (): number => {
      x = (x + 0x9e3779b9) | 0;
      let z = x;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.#state = [word(), word(), word(), word()];
  }

  /** Integer in [0, 2^32). */
  uint32(): number {
    const s = this.#state;
    const x = Math.imul(s[1], 5);
    const result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** Float in [low, high), 53 random bits. */
  uniform(low = 0, high = 1): number {
    const u = ((this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6)) / 2 ** 53;
    return low + (high - low) * u;
  }

  /** Integer in [0, n), without bias. */
  integer(n: number): number {
    if (!(Number.isInteger(n) && n >= 1 && n <= 2 ** 32)) throw new RangeError(`cannot draw below ${n}`);
    const limit = 2 ** 32 - (2 ** 32 % n);
    let x = this.uint32();
    while (x >= limit) x = this.uint32();
    return x % n;
  }

  /** Shuffles in place (Fisher–Yates) and returns the array. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  }

  /** The integers 0 … n − 1 in random order. */
  permutation(n: number): number[] {
    return this.shuffle(Array.from({ length: n }, (_, i) => i));
  }

  /** `count` different items in random order; `items` is left alone. */
  sample<T>(items: readonly T[], count: number): T[] {
    if (count > items.length)
      throw new RangeError(`cannot draw ${count} different items from ${items.length}`);
    const pool = [...items];
    for (let i = 0; i < count; i++) {
      const j = i + this.integer(pool.length - i);
      [pool[i], pool[j]] = [pool[j], pool[i]];
    }
    return pool.slice(0, count);
  }

  state(): RngState {
    return this.#state.map((x) => x >>> 0) as RngState;
  }

  loadState(state: readonly number[]): void {
    if (state.length !== 4 || !state.every((x) => Number.isInteger(x))) {
      throw new TypeError('the state of a random generator is four integers');
    }
    this.#state = state.map((x) => x | 0) as RngState;
  }
}
