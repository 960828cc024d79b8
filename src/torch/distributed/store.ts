// Key-value stores, by which processes find each other and say how they are.

import { native } from '../native.js';

/** How long to wait for other processes, in milliseconds, unless told otherwise: 5 minutes. */
export const STORE_TIMEOUT = 300_000;

const encoder = new TextEncoder();

/**
 * Keys and values shared by processes. Every method returns a promise and waits, if it has to, on a native thread; a
 * store does one thing after the other, so that a `get` which waits holds up what is asked after it.
 */
export class Store {
  /** @internal */
  readonly handle: number;
  /** Longest wait of `get` and `wait`, in milliseconds. */
  readonly timeout: number;

  /** For this package: use `tcpStore` or `fileStore`. */
  constructor(handle: number, timeout: number) {
    this.handle = handle;
    this.timeout = timeout;
  }

  async set(key: string, value: string | Uint8Array): Promise<void> {
    await native.storeSet(this.handle, key, typeof value === 'string' ? encoder.encode(value) : value);
  }

  /** Waits until the key is there. Throws after `timeout` milliseconds. */
  async get(key: string, timeout = this.timeout): Promise<Uint8Array> {
    return native.storeGet(this.handle, key, timeout);
  }

  /** `get` of a text. */
  async getString(key: string, timeout = this.timeout): Promise<string> {
    return new TextDecoder().decode(await this.get(key, timeout));
  }

  /** Adds to a counter, which begins at 0, and returns its new value. */
  async add(key: string, amount: number): Promise<number> {
    return native.storeAdd(this.handle, key, amount);
  }

  /** Waits until all keys are there. Throws after `timeout` milliseconds. */
  async wait(keys: readonly string[], timeout = this.timeout): Promise<void> {
    await native.storeWait(this.handle, keys, timeout);
  }

  /** Whether all keys are there. */
  async check(keys: readonly string[]): Promise<boolean> {
    return native.storeCheck(this.handle, keys);
  }

  /** Removes a key; false when it was not there. */
  async deleteKey(key: string): Promise<boolean> {
    return native.storeDelete(this.handle, key);
  }

  /** A store over this one whose keys all begin with `prefix`. */
  prefixed(prefix: string): Store {
    return new Store(native.storePrefix(this.handle, prefix), this.timeout);
  }

  /** `prefixed`, in this one's place: it is closed. */
  moved(prefix: string): Store {
    const store = this.prefixed(prefix);
    this.close();
    return store;
  }

  /** Lets go of it. A server ends once nothing else (a group, a prefixed store) holds it either. */
  close(): void {
    native.storeClose(this.handle);
  }
}

/** A store in the memory of one process, the server, reached over TCP. */
export class TCPStore extends Store {
  readonly host: string;
  readonly port: number;

  constructor(handle: number, timeout: number, host: string, port: number) {
    super(handle, timeout);
    this.host = host;
    this.port = port;
  }
}

export interface TcpStoreOptions {
  /** Whether this process keeps the values; exactly one does. */
  isServer?: boolean;
  /** Longest wait, in milliseconds, to connect as well. */
  timeout?: number;
}

/** Opens or joins a TCP store. As the server, port 0 is any free one: see `port` of the result. */
export async function tcpStore(
  host: string,
  port: number,
  { isServer = false, timeout = STORE_TIMEOUT }: TcpStoreOptions = {},
): Promise<TCPStore> {
  const [handle, actual] = await native.storeTcp(host, port, isServer, timeout);
  return new TCPStore(handle, timeout, host, actual);
}

/** A store in a file that all processes see. Each run needs a file of its own, which need not exist yet. */
export function fileStore(path: string, worldSize: number, timeout = STORE_TIMEOUT): Store {
  return new Store(native.storeFile(path, worldSize, timeout), timeout);
}
