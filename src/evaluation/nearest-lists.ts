import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type Neighbours, smallest } from './smallest.js';

/** Of each row the nearest so far, nearest first. Columns must come in ascending order, so that equal ones are by number. */
export class NearestLists {
  readonly #k: number;
  readonly #indices: Int32Array;
  readonly #distances: Float32Array;
  /** The `k`th distance of each row: what is not nearer is of no use. */
  readonly #limits: Float32Array;

  constructor(n: number, k: number) {
    this.#k = k;
    this.#indices = new Int32Array(n * k);
    this.#distances = new Float32Array(n * k).fill(Infinity);
    this.#limits = new Float32Array(n).fill(Infinity);
  }

  /** All lists, if all are full. */
  get neighbours(): Neighbours | undefined {
    if (this.#limits.some((limit) => limit === Infinity)) return undefined;
    return { k: this.#k, indices: this.#indices, distances: this.#distances };
  }

  /**
   * @param block [rows, columns] of the rows from `row` on to those from `column` on; [columns, rows] if `turned`
   */
  add(block: Tensor, row: number, column: number, turned = false): void {
    const [height, width] = block.shape;
    const limits = this.#limits.subarray(row, row + (turned ? width : height));
    if (limits.some((limit) => limit === Infinity)) {
      this.#addSmallest(turned ? block.t().contiguous() : block, row, column);
      return;
    }
    const bounds = torch.tensor(limits, { device: block.device });
    const places = placesOf(block.lt(turned ? bounds : bounds.unsqueeze(1)).flatten());
    if (places === undefined) {
      this.#addSmallest(turned ? block.t().contiguous() : block, row, column);
      return;
    }
    const distances = block.take(places).toTypedArray() as Float32Array;
    (places.double().toTypedArray() as Float64Array).forEach((place, i) => {
      // Some of the places are not near, which is found here.
      const y = Math.floor(place / width);
      const x = place - y * width;
      if (turned) this.#insert(row + x, column + y, distances[i]);
      else this.#insert(row + y, column + x, distances[i]);
    });
  }

  #addSmallest(block: Tensor, row: number, column: number): void {
    const found = smallest(block, Math.min(this.#k, block.shape[1]));
    found.indices.forEach((c, i) => {
      this.#insert(row + Math.floor(i / found.k), column + c, found.distances[i]);
    });
  }

  #insert(row: number, column: number, distance: number): void {
    if (!(distance < this.#limits[row])) return;
    const first = row * this.#k;
    let at = first + this.#k - 1;
    for (; at > first && this.#distances[at - 1] > distance; at--) {
      this.#distances[at] = this.#distances[at - 1];
      this.#indices[at] = this.#indices[at - 1];
    }
    this.#distances[at] = distance;
    this.#indices[at] = column;
    this.#limits[row] = this.#distances[first + this.#k - 1];
  }
}

/**
 * Places, ascending, with all that are true in a flat mask. Eight are looked at together, which takes a fraction of
 * the time, and are all there if one of them is true. Undefined where that are so many that they would take more memory
 * than the block of distances.
 */
function placesOf(mask: Tensor): Tensor | undefined {
  const size = mask.numel();
  const whole = size - (size % 8);
  const groups = mask.narrow(0, 0, whole).view(torch.int64).nonzero().mul(8);
  if (groups.numel() > whole / 64) return undefined;
  const eight = torch.arange(0, 8, 1, { dtype: torch.int64, device: mask.device });
  const rest = torch.arange(whole, size, 1, { dtype: torch.int64, device: mask.device });
  return torch.cat([groups.add(eight).flatten(), rest], 0);
}
