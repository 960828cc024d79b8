import { Rng, type RngState } from '../rng.js';

/**
 * Where a sampler stands, as plain data. It counts in the stream that all processes share, so the state saved
 * by any of them (rank 0, say) is the state of all.
 */
export interface SamplerState {
  /** Generator before the chunk of the stream that `position` counts from. */
  rng: RngState;
  /** Indices of that chunk already handed out, over all processes. */
  position: number;
}

/** Which process this is, of how many. */
export interface Shard {
  rank?: number;
  worldSize?: number;
}

export function checkShard({ rank = 0, worldSize = 1 }: Shard): Required<Shard> {
  if (!Number.isInteger(worldSize) || worldSize < 1) {
    throw new RangeError(`worldSize must be at least 1, got ${worldSize}`);
  }
  if (!Number.isInteger(rank) || rank < 0 || rank >= worldSize) {
    throw new RangeError(`rank must be from 0 to ${worldSize - 1}, got ${rank}`);
  }
  return { rank, worldSize };
}

interface Chunk {
  rng: RngState;
  indices: number[];
}

/**
 * Endless sampler: all processes make the same stream of dataset indices from the same seed, and process `rank`
 * takes every `worldSize`-th of it, starting at the `rank`-th. Subclasses make the stream, a chunk at a time.
 */
export abstract class EndlessSampler implements Iterable<number> {
  readonly rank: number;
  readonly worldSize: number;
  readonly #rng: Rng;
  // Chunks from the one that holds #position on. More than one only while processes read across a boundary.
  #chunks: Chunk[] = [];
  #position = 0;

  constructor(seed: number, shard: Shard) {
    const { rank, worldSize } = checkShard(shard);
    this.rank = rank;
    this.worldSize = worldSize;
    this.#rng = new Rng(seed);
  }

  /** The next piece of the stream; never empty. All randomness comes from `rng`. */
  protected abstract chunk(rng: Rng): number[];

  /** Next dataset index of this process. */
  next(): number {
    let offset = this.#position + this.rank;
    let i = 0;
    for (; ; i++) {
      if (i === this.#chunks.length) this.#grow();
      if (offset < this.#chunks[i].indices.length) break;
      offset -= this.#chunks[i].indices.length;
    }
    const index = this.#chunks[i].indices[offset];
    this.#position += this.worldSize;
    while (this.#chunks.length > 0 && this.#position >= this.#chunks[0].indices.length) {
      this.#position -= this.#chunks[0].indices.length;
      this.#chunks.shift();
    }
    return index;
  }

  *[Symbol.iterator](): Iterator<number> {
    while (true) yield this.next();
  }

  state(): SamplerState {
    return { rng: this.#chunks[0]?.rng ?? this.#rng.state(), position: this.#position };
  }

  loadState(state: SamplerState): void {
    this.#rng.loadState(state.rng);
    this.#chunks = [];
    this.#position = state.position;
  }

  #grow(): void {
    const rng = this.#rng.state();
    this.#chunks.push({ rng, indices: this.chunk(this.#rng) });
  }
}
