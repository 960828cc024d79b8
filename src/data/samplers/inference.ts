import { checkShard, type Shard } from './sampler.js';

/**
 * Every image exactly once, in order: process `rank` gets one contiguous piece. Pieces are equally long except
 * that the last ones may be shorter, or empty.
 */
export class InferenceSampler implements Iterable<number> {
  readonly begin: number;
  readonly end: number;

  constructor(size: number, shard: Shard = {}) {
    const { rank, worldSize } = checkShard(shard);
    if (!Number.isInteger(size) || size < 1) throw new RangeError(`InferenceSampler: no images (${size})`);
    const piece = Math.ceil(size / worldSize);
    this.begin = Math.min(piece * rank, size);
    this.end = Math.min(piece * (rank + 1), size);
  }

  get length(): number {
    return this.end - this.begin;
  }

  *[Symbol.iterator](): Iterator<number> {
    for (let i = this.begin; i < this.end; i++) yield i;
  }
}
