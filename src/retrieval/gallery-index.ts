import type { Label } from '../data/labels.js';
import { normalize_ } from '../evaluation/distance.js';
import {
  type Metric,
  nearestRows,
  normalize,
  parseMetric,
  type TestProtocol,
  takeRows,
} from '../evaluation/index.js';
import type { DeviceLike, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { loadFeatures, movedProtocol, saveFeatures } from './features.js';

/** An image of a gallery. */
export interface GalleryEntry {
  /** Names the image: no two of an index have the same. */
  readonly path: string;
  readonly identity?: Label;
  readonly camera?: Label;
}

/** An image that was found, and how far it is from the query. */
export interface Neighbour extends GalleryEntry {
  /** `1 − cos` or, for `euclidean`, the squared distance. */
  readonly distance: number;
}

export interface IndexOptions {
  /** `cosine` (default) or `euclidean`. */
  metric?: string;
  /** Where features are kept and compared. Default: the CPU. */
  device?: DeviceLike;
  /** MiB that a search may take beside the features. Default 256. */
  budget?: number;
}

/**
 * Features of a gallery, to be searched. The search is exact: every feature is compared, in blocks of bounded memory,
 * and equally near images come in the order in which they were added. For `cosine`, features are kept (and saved) at
 * unit length.
 *
 * ```ts
 * const index = new GalleryIndex(512);
 * index.add(await predictor.embed(paths), paths.map((path) => ({ path })));
 * const [nearest] = index.search(await predictor.embed(['query.jpg']), 10);
 * index.save('gallery.safetensors');
 * ```
 *
 * The features live outside every scope: `dispose` frees them.
 */
export class GalleryIndex implements Disposable {
  readonly dim: number;
  readonly metric: Metric;
  readonly #device: DeviceLike;
  readonly #budget: number | undefined;
  /** Float32 [capacity, dim]; the first rows are the entries', in their order. */
  #features: Tensor;
  #entries: GalleryEntry[] = [];
  #rows = new Map<string, number>();
  /** What the file that was loaded says besides, as `FeatureSet` has it. */
  #protocol: TestProtocol | undefined;
  #mirrored: boolean | undefined;

  /** An empty index of features of `dim` numbers. */
  constructor(dim: number, { metric = 'cosine', device = 'cpu', budget }: IndexOptions = {}) {
    if (!Number.isInteger(dim) || dim < 1) throw new RangeError(`GalleryIndex: a feature of ${dim} numbers`);
    this.dim = dim;
    this.metric = parseMetric(metric);
    this.#device = device;
    this.#budget = budget;
    this.#features = torch.empty([0, dim], { device }).keep();
  }

  /** Number of images. */
  get size(): number {
    return this.#entries.length;
  }

  /** The images, in the order in which they were added. */
  get entries(): readonly GalleryEntry[] {
    return this.#entries;
  }

  has(path: string): boolean {
    return this.#rows.has(path);
  }

  /**
   * Adds images.
   *
   * @param features [entries.length, dim], of any float type, copied
   * @throws Error, and nothing is added, for a path that is there already, a feature that is not finite, or when some
   *   images of the index would have an identity, or a camera, and others not
   */
  add(features: Tensor, entries: readonly GalleryEntry[]): void {
    this.#checkFeatures(features, (row) => `the feature of ${entries[row]?.path}`);
    if (features.shape[0] !== entries.length) {
      throw new Error(`GalleryIndex: ${features.shape[0]} features for ${entries.length} images`);
    }
    const first = this.#entries[0] ?? entries[0];
    const added = new Set<string>();
    for (const { path, ...labels } of entries) {
      if (this.has(path) || added.has(path)) throw new Error(`GalleryIndex: ${path} is in the index already`);
      added.add(path);
      for (const label of ['identity', 'camera'] as const) {
        if ((labels[label] === undefined) === (first[label] === undefined)) continue;
        throw new Error(`GalleryIndex: ${path}: either all images of an index have their ${label} or none`);
      }
    }
    torch.noGrad(() =>
      torch.scope(() => {
        this.#reserve(this.size + entries.length);
        const rows = this.#features.narrow(0, this.size, entries.length).copy_(features);
        if (this.metric === 'cosine') normalize_(rows);
      }),
    );
    for (const { path, identity, camera } of entries) {
      this.#rows.set(path, this.#entries.length);
      this.#entries.push({ path, identity, camera });
    }
  }

  /** Removes images by their paths; those that are not there are no error. Returns how many were removed. */
  remove(paths: Iterable<string>): number {
    const gone = new Set([...paths].flatMap((path) => this.#rows.get(path) ?? []));
    if (gone.size === 0) return 0;
    const rows = this.#entries.flatMap((_, row) => (gone.has(row) ? [] : [row]));
    const place = new Map(rows.map((row, i) => [row, i]));
    this.#protocol &&= movedProtocol(this.#protocol, (row) => place.get(row));
    const kept = torch.noGrad(() => takeRows(this.#features, rows).keep());
    this.#features.dispose();
    this.#features = kept;
    this.#entries = rows.map((row) => this.#entries[row]);
    this.#rows = new Map(this.#entries.map(({ path }, row) => [path, row]));
    return gone.size;
  }

  /**
   * The `k` images nearest to each query (all, when there are fewer), nearest first.
   *
   * @param features [n, dim], of any float type
   * @returns n lists
   * @throws Error for a query that is not finite
   */
  search(features: Tensor, k: number): Neighbour[][] {
    if (!Number.isInteger(k) || k < 1) throw new RangeError(`GalleryIndex: ${k} neighbours`);
    this.#checkFeatures(features, (row) => `query ${row}`);
    return torch.noGrad(() =>
      torch.scope(() => {
        let query = features.detach().to({ device: this.#device, dtype: torch.float32 });
        if (this.metric === 'cosine') query = normalize(query);
        const gallery = this.#features.narrow(0, 0, this.size);
        const options = { budget: this.#budget, normalized: true };
        const found = nearestRows(query, gallery, k, this.metric, options);
        return Array.from({ length: query.shape[0] }, (_, q) =>
          Array.from(found.indices.subarray(q * found.k, (q + 1) * found.k), (row, i) => ({
            ...this.#entries[row],
            distance: found.distances[q * found.k + i],
          })),
        );
      }),
    );
  }

  /**
   * Writes a features file (`saveFeatures`), which `load` and every command that takes features read. What `load` read
   * is written again: also `mirrored`, and `protocol` without the images that were removed; of images that were added
   * it knows nothing.
   */
  save(path: string): void {
    const column = (label: 'identity' | 'camera'): Label[] | undefined =>
      this.#entries[0]?.[label] === undefined ? undefined : this.#entries.map((entry) => entry[label]!);
    torch.scope(() =>
      saveFeatures(path, {
        features: this.#features.narrow(0, 0, this.size),
        paths: this.#entries.map((entry) => entry.path),
        identities: column('identity'),
        cameras: column('camera'),
        protocol: this.#protocol,
        mirrored: this.#mirrored,
      }),
    );
  }

  /** Makes an index of a features file. Of images that are there twice, the first counts. */
  static load(path: string, options: IndexOptions = {}): GalleryIndex {
    return torch.scope(() => {
      const { features, paths, identities, cameras, protocol, mirrored } = loadFeatures(path);
      const index = new GalleryIndex(features.shape[1], options);
      const first = new Map<string, number>();
      for (const [row, name] of paths.entries()) if (!first.has(name)) first.set(name, row);
      const rows = [...first.values()];
      const entries = rows.map((row) => ({
        path: paths[row],
        identity: identities?.[row],
        camera: cameras?.[row],
      }));
      const all = rows.length === paths.length;
      try {
        index.add(all ? features : takeRows(features, rows), entries);
      } catch (error) {
        index.dispose();
        throw new Error(`${path}: ${(error as Error).message}`);
      }
      index.#protocol = protocol && movedProtocol(protocol, (row) => index.#rows.get(paths[row]));
      index.#mirrored = mirrored;
      return index;
    });
  }

  /** Frees the features; the index is empty and of no more use. */
  dispose(): void {
    this.#features.dispose();
    this.#entries = [];
    this.#rows.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkFeatures(features: Tensor, nameOf: (row: number) => string): void {
    const { shape, dtype } = features;
    if (shape.length !== 2 || shape[1] !== this.dim || !dtype.isFloatingPoint) {
      throw new Error(
        `GalleryIndex: features must be a float matrix [n, ${this.dim}], got ${dtype.name} [${shape.join(', ')}]`,
      );
    }
    const wrong = torch.noGrad(() =>
      torch.scope(() => {
        const finite = features.isfinite().all(1);
        return finite.all().item() ? -1 : Number(finite.to(torch.uint8).argmin().item());
      }),
    );
    if (wrong >= 0) throw new Error(`GalleryIndex: ${nameOf(wrong)} holds numbers that are not finite`);
  }

  /** Room for `rows` features, doubled when it has to grow, so that adding one by one is cheap. */
  #reserve(rows: number): void {
    const [capacity] = this.#features.shape;
    if (rows <= capacity) return;
    const next = torch.empty([Math.max(rows, 2 * capacity), this.dim], { device: this.#device }).keep();
    next.narrow(0, 0, this.size).copy_(this.#features.narrow(0, 0, this.size));
    this.#features.dispose();
    this.#features = next;
  }
}
