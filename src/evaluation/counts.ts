/**
 * How often each single-precision number came, exactly, in one pass and in memory that does not grow with how many
 * there are: numbers are counted by their bits, in pages of 65,536 neighbouring numbers that are made when first
 * needed. That is at most 32 MiB for each power of two that the numbers span.
 */
export class FloatCounts {
  readonly #pages: (Uint32Array | undefined)[] = new Array(1 << 16);
  /** Counts beyond 2³² − 1, in steps of 2³². */
  readonly #overflow = new Map<number, number>();
  #total = 0;

  get total(): number {
    return this.#total;
  }

  /** Counts the numbers of `values` whose entry in `skip` is 0. */
  addRow(values: Float32Array, skip: Uint8Array): void {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    for (let i = 0; i < bits.length; i++) {
      if (skip[i] !== 0) continue;
      const key = orderedKey(bits[i]);
      let page = this.#pages[key >>> 16];
      if (page === undefined) {
        page = new Uint32Array(1 << 16);
        this.#pages[key >>> 16] = page;
      }
      if (++page[key & 0xffff] === 0) this.#overflow.set(key, (this.#overflow.get(key) ?? 0) + 2 ** 32);
      this.#total++;
    }
  }

  /** Numbers with their counts, ascending or descending. */
  forEach(visit: (value: number, count: number) => void, { descending = false } = {}): void {
    const step = descending ? -1 : 1;
    const first = descending ? 0xffff : 0;
    for (let high = first; high >= 0 && high <= 0xffff; high += step) {
      const page = this.#pages[high];
      if (page === undefined) continue;
      for (let low = first; low >= 0 && low <= 0xffff; low += step) {
        const key = high * 65536 + low;
        const count = page[low] + (this.#overflow.size > 0 ? (this.#overflow.get(key) ?? 0) : 0);
        if (count > 0) visit(floatOfKey(key), count);
      }
    }
  }
}

/** Bits of a number to a key that ascends with the numbers; −0 is 0. */
function orderedKey(bits: number): number {
  if (bits < 0x80000000) return (bits | 0x80000000) >>> 0;
  return bits === 0x80000000 ? 0x80000000 : ~bits >>> 0;
}

const oneBits = new Uint32Array(1);
const oneFloat = new Float32Array(oneBits.buffer);

function floatOfKey(key: number): number {
  oneBits[0] = key >= 0x80000000 ? key & 0x7fffffff : ~key;
  return oneFloat[0];
}
