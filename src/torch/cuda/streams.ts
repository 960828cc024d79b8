import { endingWith, refusePromise } from '../synchronous.js';
import type { Tensor } from '../tensor.js';
import { type CudaDevice, deviceIndex, withDevice } from './devices.js';
import { requireCuda } from './native.js';

export interface StreamOptions {
  device?: CudaDevice;
  /** Its work goes before that of other streams. Default false. */
  highPriority?: boolean;
}

/**
 * A queue of work on a device. Work of one stream is done in order, that of several at once. A tensor that one stream
 * makes and another uses needs the second to wait (`waitStream`), and, if it is released before that is through,
 * `recordStream`.
 */
export class Stream {
  readonly device: number;
  /** libtorch's number. */
  readonly id: number;

  /** One of a device's pool of streams. */
  constructor(options?: StreamOptions);
  /** @internal */
  constructor(options: StreamOptions, id: number);
  constructor({ device = 'cuda', highPriority = false }: StreamOptions = {}, id?: number) {
    const cuda = requireCuda();
    this.device = deviceIndex(device);
    this.id = id ?? cuda.newStream(this.device, highPriority);
  }

  /** Whether all its work is done. */
  query(): boolean {
    return requireCuda().streamQuery(this.id, this.device);
  }

  /** Waits for its work; JavaScript stands still meanwhile. */
  synchronize(): void {
    requireCuda().streamSynchronize(this.id, this.device);
  }

  /** What it is given from here on waits for what `other` has been given so far. JavaScript goes on. */
  waitStream(other: Stream): void {
    using event = new Event();
    event.record(other);
    event.block(this);
  }

  /** The memory of `tensor` is not used for other tensors before this stream has come as far as it is now. */
  recordStream(tensor: Tensor): void {
    requireCuda().recordStream(tensor.handle, this.id, this.device);
  }

  equals(other: Stream): boolean {
    return this.id === other.id && this.device === other.device;
  }
}

/** The stream that operators on a device use now. */
export function currentStream(device: CudaDevice = 'cuda'): Stream {
  const index = deviceIndex(device);
  return new Stream({ device: index }, requireCuda().currentStream(index));
}

/** The stream that operators on a device use unless told otherwise. */
export function defaultStream(device: CudaDevice = 'cuda'): Stream {
  const index = deviceIndex(device);
  return new Stream({ device: index }, requireCuda().defaultStream(index));
}

/** Runs `body`, which is synchronous, with its operators on another stream. */
export function withStream<T>(stream: Stream, body: () => T): T {
  const cuda = requireCuda();
  const before = cuda.currentStream(stream.device);
  cuda.setStream(stream.id, stream.device);
  return endingWith(
    () => refusePromise(body(), 'withStream'),
    () => cuda.setStream(before, stream.device),
  );
}

/**
 * Runs `body` on a stream and its device, between what the current stream has been given and what it is given next.
 * Memory of the stream is thus used again only there, and only after others are through with it.
 */
export function withStreamAside<T>(stream: Stream, body: () => T): T {
  const current = currentStream(stream.device);
  stream.waitStream(current);
  return endingWith(
    () => withDevice(stream.device, () => withStream(stream, body)),
    () => current.waitStream(stream),
  );
}

const events = new FinalizationRegistry<number>((id) => requireCuda().freeEvent(id));

/** A mark in a stream that others can wait for. */
export class Event implements Disposable {
  readonly #id: number;

  /** @param options.timing it notes the time for `elapsedTime`; default false */
  constructor({ timing = false }: { timing?: boolean } = {}) {
    this.#id = requireCuda().newEvent(timing);
    events.register(this, this.#id, this);
  }

  /** Marks where a stream is now. */
  record(stream: Stream = currentStream()): this {
    requireCuda().eventRecord(this.#id, stream.id, stream.device);
    return this;
  }

  /** Makes a stream wait for the mark; JavaScript goes on. */
  block(stream: Stream = currentStream()): void {
    requireCuda().eventBlock(this.#id, stream.id, stream.device);
  }

  /** Whether the mark has been reached. */
  query(): boolean {
    return requireCuda().eventQuery(this.#id);
  }

  /** Waits until the mark has been reached; JavaScript stands still meanwhile. */
  synchronize(): void {
    requireCuda().eventSynchronize(this.#id);
  }

  /** Milliseconds from this mark to `later`; both need `timing` and must have been reached. */
  elapsedTime(later: Event): number {
    return requireCuda().eventElapsed(this.#id, later.#id);
  }

  [Symbol.dispose](): void {
    events.unregister(this);
    requireCuda().freeEvent(this.#id);
  }
}
