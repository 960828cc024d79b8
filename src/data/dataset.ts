import type { ImageItem } from './datasets/base.js';
import { type Label, numberLabels } from './labels.js';

/** What a model sees of an {@link ImageItem}: identity and camera as numbers. */
export interface LabelledImage {
  readonly imgPath: string;
  readonly target: number;
  readonly camid: number;
}

/**
 * The pictures of one or several datasets behind one index. Training sets are relabelled: identities and
 * cameras, sorted, become 0, 1, 2 …; test sets keep the numbers that the dataset gave.
 */
export class CommDataset {
  readonly items: readonly ImageItem[];
  readonly #pids: Map<Label, number>;
  readonly #cams: Map<Label, number>;
  readonly #relabel: boolean;

  constructor(items: readonly ImageItem[], { relabel = true }: { relabel?: boolean } = {}) {
    this.items = items;
    this.#pids = numberLabels(items.map(({ pid }) => pid));
    this.#cams = numberLabels(items.map(({ camid }) => camid));
    this.#relabel = relabel;
    if (!relabel && !items.every(({ pid, camid }) => Number.isInteger(pid) && Number.isInteger(camid))) {
      throw new TypeError('identities and cameras of a test set must be integers');
    }
  }

  get length(): number {
    return this.items.length;
  }

  /** Number of identities. */
  get numClasses(): number {
    return this.#pids.size;
  }

  get numCameras(): number {
    return this.#cams.size;
  }

  at(index: number): LabelledImage {
    const { imgPath, pid, camid } = this.items[index];
    if (!this.#relabel) return { imgPath, target: Number(pid), camid: Number(camid) };
    return { imgPath, target: this.#pids.get(pid)!, camid: this.#cams.get(camid)! };
  }
}
