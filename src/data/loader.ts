import type { ImageCache } from '../torch/image.js';
import type { DeviceLike, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type BatchSource, type BatchSourceState, FiniteBatches } from './batches.js';
import { BrokenImages } from './broken.js';
import type { CommDataset, LabelledImage } from './dataset.js';
import { loadProcessed, type OnBroken } from './images.js';
import { Rng, type RngState } from './rng.js';
import type { ImagePipeline } from './transforms/build.js';

/**
 * What a model is fed. The batch belongs to whoever asked for it: `dispose()` (or `using batch = …`) releases its
 * memory at once, else the garbage collector does in its own time.
 */
export interface Batch extends Disposable {
  /** float32, N × 3 × H × W, 0–255, on the loader's device. */
  readonly images: Tensor;
  /** int64, N, on the loader's device: identities. */
  readonly targets: Tensor;
  /** int64, N, on the CPU: cameras. */
  readonly camids: Tensor;
  readonly imgPaths: readonly string[];
  dispose(): void;
}

/** Where a loader stands before a batch is drawn. */
interface Position {
  source: BatchSourceState;
  transforms: RngState;
}

/** State of a loader, as plain data: a loader given it yields what the saved one would have yielded next. */
export interface LoaderState extends Position {
  /** Batches to load again and drop, from the position on, so that a transform remembers their pictures. */
  replay?: number;
}

export interface DataLoaderOptions {
  dataset: CommDataset;
  batches: BatchSource;
  pipeline: ImagePipeline;
  /** Seed of the transforms' random parameters. */
  seed?: number;
  /** Tells processes apart that share a seed. */
  rank?: number;
  /** Decoding threads (DATALOADER.NUM_WORKERS). Decides how fast batches come, never what is in them. */
  workers?: number;
  /** Decoded pictures (DATALOADER.CACHE). */
  cache?: ImageCache;
  /** Batches decoded ahead of the one asked for. */
  prefetch?: number;
  /** Go on without pictures that cannot be loaded (DATALOADER.SKIP_BROKEN); see {@link BrokenImages}. */
  skipBroken?: boolean;
  /** Where batches are transformed and delivered. */
  device?: DeviceLike;
}

/** A batch on its way. */
interface Pending {
  before: Position;
  labels: LabelledImage[];
  /** On the CPU, or sent ahead. */
  images: Promise<Tensor>;
  /** Of the step that sees the whole batch. */
  rng: Rng;
}

/**
 * Loads batches ahead of their use. What is to be done with each picture is drawn when its batch is drawn, in order,
 * and native threads decode and transform in the background, so that neither the number of workers nor the depth of
 * prefetching changes what comes out, and {@link state} describes exactly what was handed out. To a GPU the next batch
 * travels while the last one handed out is worked on.
 *
 * A training loader is endless: iterating again goes on where the last iteration stopped. A test loader starts a
 * pass with each iteration. A picture that cannot be loaded makes that `next()` reject, unless `skipBroken` is set; the
 * following one goes on with the next batch. `close()` before letting go of an endless loader.
 */
export class DataLoader implements AsyncIterable<Batch> {
  readonly dataset: CommDataset;
  readonly #options: Required<Omit<DataLoaderOptions, 'cache'>> & Pick<DataLoaderOptions, 'cache'>;
  readonly #rng: Rng;
  readonly #broken: BrokenImages | undefined;
  #queue: Pending[] = [];
  // The last batches handed out, as far as the pipeline remembers their pictures.
  #recent: { before: Position; pictures: number }[] = [];
  #replay = 0;
  // Calls of next() wait for each other: batches are handed out in order.
  #tail: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;
  // On which pictures go to a GPU, beside what it computes.
  #side: torch.cuda.Stream | undefined;

  constructor(options: DataLoaderOptions) {
    this.#options = {
      seed: 0,
      rank: 0,
      workers: 4,
      prefetch: 3,
      device: 'cpu',
      skipBroken: false,
      ...options,
    };
    if (options.skipBroken) this.#broken = new BrokenImages(!options.batches.finite);
    this.dataset = options.dataset;
    this.#rng = new Rng(this.#options.seed, this.#options.rank + 1);
  }

  /** Batches in a pass of a test loader; Infinity for a training loader. */
  get length(): number {
    const { batches } = this.#options;
    return batches instanceof FiniteBatches ? batches.length : Number.POSITIVE_INFINITY;
  }

  /** The next batch; undefined when a pass has ended or the loader is closed. */
  next(): Promise<Batch | undefined> {
    const result = this.#tail.then(() => this.#take());
    this.#tail = result.catch(() => {});
    return result;
  }

  [Symbol.asyncIterator](): AsyncIterator<Batch> {
    if (this.#options.batches.finite) this.#restart();
    return {
      next: async () => {
        const value = await this.next();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
      return: async () => {
        if (this.#options.batches.finite) this.#restart();
        return { done: true, value: undefined };
      },
    };
  }

  /** Does not count batches that were prefetched but not handed out. */
  state(): LoaderState {
    const position = this.#recent[0]?.before ?? this.#queue[0]?.before ?? this.#position();
    const replay = this.#recent.length + this.#replay;
    return structuredClone(replay > 0 ? { ...position, replay } : position);
  }

  loadState(state: LoaderState): void {
    void this.#discard();
    this.#options.batches.loadState(state.source);
    this.#rng.loadState(state.transforms);
    this.#options.pipeline.batchStep?.reset();
    this.#recent = [];
    this.#replay = state.replay ?? 0;
  }

  /** Stops prefetching, waits for what is being decoded and releases it. Calling it again is harmless. */
  close(): Promise<void> {
    this.#closed ??= this.#discard().then(() => this.#options.pipeline.batchStep?.reset());
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #restart(): void {
    void this.#discard();
    this.#options.batches.rewind();
  }

  async #discard(): Promise<void> {
    const dropped = this.#queue;
    this.#queue = [];
    for (const result of await Promise.allSettled(dropped.map(({ images }) => images))) {
      if (result.status === 'fulfilled') result.value.dispose();
    }
  }

  get #toGpu(): boolean {
    const { device } = this.#options;
    return (typeof device === 'string' ? device : device.type).startsWith('cuda');
  }

  #position(): Position {
    return { source: this.#options.batches.state(), transforms: this.#rng.state() };
  }

  #prefetch(count: number): void {
    const { batches, dataset, pipeline, workers, cache } = this.#options;
    const pinned = this.#toGpu;
    while (this.#queue.length < count) {
      const before = this.#position();
      const indices = batches.next();
      if (indices === undefined) return;
      const labels = indices.map((index) => dataset.at(index));
      const programs = labels.map(() => pipeline.draw(this.#rng));
      const rng = new Rng(this.#rng.uint32());
      const onBroken =
        this.#broken && ((...args: Parameters<OnBroken>) => this.#broken?.replace(...args, labels));
      const paths = labels.map(({ imgPath }) => imgPath);
      const images = loadProcessed(paths, programs, pipeline.size, { workers, cache, pinned, onBroken });
      images.catch(() => {}); // reported when its turn comes; until then nobody listens
      this.#queue.push({ before, labels, images, rng });
    }
  }

  async #take(): Promise<Batch | undefined> {
    for (; this.#replay > 0; this.#replay--) {
      // A batch that fails again was no batch the first time either.
      const again = await this.#one().catch(() => undefined);
      again?.dispose();
    }
    return this.#one();
  }

  async #one(): Promise<Batch | undefined> {
    if (this.#closed) return undefined;
    this.#prefetch(this.#options.prefetch + 1);
    const pending = this.#queue[0];
    if (pending === undefined) return undefined;
    const loaded = await pending.images.catch((error: unknown) => {
      if (this.#queue[0] === pending) this.#pass(pending);
      throw error;
    });
    // While it was loading, loadState(), close() or a new pass may have dropped it, and disposed of it.
    if (this.#queue[0] !== pending) return this.#one();
    this.#pass(pending);
    const batch = this.#finish(pending, loaded);
    this.#sendAhead();
    return batch;
  }

  /** Lets the next batch go to the GPU as soon as it is loaded; only that one, for memory's sake. */
  #sendAhead(): void {
    const [next] = this.#queue;
    if (!this.#toGpu || next === undefined) return;
    // Dropped meanwhile, it need not go.
    next.images = next.images.then((loaded) => (this.#queue[0] === next ? this.#send(loaded) : loaded));
    next.images.catch(() => {}); // reported when its turn comes
  }

  /**
   * Copies pictures to the GPU on a stream of their own, whose memory they take; `loaded` goes. JavaScript does not wait, as
   * `loaded` is page-locked, and libtorch keeps it from other uses until it has been read.
   */
  #send(loaded: Tensor): Tensor {
    const { device } = this.#options;
    this.#side ??= new torch.cuda.Stream({ device });
    try {
      return torch.cuda.withStream(this.#side, () => loaded.to({ device, nonBlocking: true }).keep());
    } finally {
      loaded.dispose();
    }
  }

  /** Pictures on the loader's device, for the stream that is current. */
  #deliver(loaded: Tensor): Tensor {
    if (!this.#toGpu) {
      const images = loaded.to({ device: this.#options.device }).keep();
      if (images !== loaded) loaded.dispose();
      return images;
    }
    const images = loaded.device.type === 'cpu' ? this.#send(loaded) : loaded;
    const current = torch.cuda.currentStream(this.#options.device);
    current.waitStream(this.#side as torch.cuda.Stream);
    current.recordStream(images);
    return images;
  }

  /** Takes the first batch off the queue. */
  #pass({ before, labels }: Pending): void {
    this.#queue.shift();
    const memory = this.#options.pipeline.batchStep?.memory ?? 0;
    if (memory === 0) return;
    this.#recent.push({ before, pictures: labels.length });
    let pictures = this.#recent.reduce((sum, batch) => sum + batch.pictures, 0);
    while (pictures - this.#recent[0].pictures >= memory) pictures -= this.#recent.shift()!.pictures;
  }

  #finish({ labels, rng }: Pending, loaded: Tensor): Batch {
    const { device, pipeline } = this.#options;
    const integers = (values: number[]): Tensor => torch.tensor(BigInt64Array.from(values, BigInt));
    const images = this.#deliver(loaded);
    // All are kept: a scope that the caller holds open must not end the life of a batch.
    const tensors = torch.scope(() => {
      pipeline.batchStep?.apply(images, rng);
      const targets = integers(labels.map(({ target }) => target));
      // From memory that is not page-locked the copy would wait until the GPU has done all it was given before.
      const source = this.#toGpu ? targets.pin_memory() : targets;
      return {
        images,
        targets: source.to({ device, nonBlocking: true }).keep(),
        camids: integers(labels.map(({ camid }) => camid)).keep(),
      };
    });
    const dispose = (): void => {
      for (const tensor of Object.values(tensors)) tensor.dispose();
    };
    const imgPaths = labels.map(({ imgPath }) => imgPath);
    return { ...tensors, imgPaths, dispose, [Symbol.dispose]: dispose };
  }
}
