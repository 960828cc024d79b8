// Processes find each other and make groups.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../native.js';
import { firstRoute, type Route, reachableAddress, routeTo } from './addresses.js';
import { meetingOf, placementOf } from './environment.js';
import { type BackendName, CLOSING, ProcessGroup } from './group.js';
import { fileStore, STORE_TIMEOUT, type Store, type TCPStore, tcpStore } from './store.js';
import { within } from './within.js';
import { DistributedError, distributedError } from './work.js';

export interface ProcessGroupOptions {
  /**
   * Default: `nccl` where this build has it and a CUDA device is there, else `gloo`. With `nccl` each process of a machine
   * makes a GPU of its own the current one: `torch.cuda.setDevice(LOCAL_RANK)`.
   */
  backend?: BackendName;
  /**
   * `env://` (default: the variables that torchrun and SLURM set), `tcp://host:port` of rank 0's machine, or
   * `file:///path` of a file that is new and that all processes see.
   */
  initMethod?: string;
  /** Default: what the environment says. */
  rank?: number;
  worldSize?: number;
  /** Longest time a collective may take, in milliseconds. Default 30 minutes. */
  timeout?: number;
  /** Longest wait for the other processes at the start, in milliseconds. Default 5 minutes. */
  joinTimeout?: number;
  /**
   * A rank that has shown no sign of life for so long, in milliseconds, counts as lost, and this process ends if it
   * cannot go on. Default 60 s.
   */
  lostAfter?: number;
}

const COLLECTIVE_TIMEOUT = 30 * 60_000;
const HEARTBEAT = 1000;
const LOST_AFTER = 60_000;
/** How long the process that keeps the store waits at the end for the others to take their leave. */
const FAREWELL = 10_000;
/** How long a process that has failed waits for its own connections to end. */
const ABORTING = 2000;

interface State {
  group: ProcessGroup;
  store: Store;
  keepsStore: boolean;
  options: Required<Pick<ProcessGroupOptions, 'backend' | 'timeout'>>;
  address: string;
  /** Those made by `newGroup`, and how many all processes have made. */
  groups: ProcessGroup[];
  made: number;
}

let state: State | undefined;
/** How many process groups this process has had before: all processes count alike. */
let joined = 0;
/** The store of another process that this one has joined. */
let lastServer: string | undefined;

/** Whether `initProcessGroup` is done. */
export function isInitialized(): boolean {
  return state !== undefined;
}

/** All processes; throws before `initProcessGroup`. */
export function worldGroup(): ProcessGroup {
  if (state === undefined) throw new Error('call initProcessGroup first: this process works alone');
  return state.group;
}

/** This process's number, 0 when it works alone. */
export function getRank(): number {
  return state?.group.rank ?? 0;
}

/** How many processes work together, 1 for one that works alone. */
export function getWorldSize(): number {
  return state?.group.size ?? 1;
}

/**
 * Joins the other processes; every one of them calls it. From then on they watch over each other.
 *
 * @throws DistributedError that names the ranks that did not come, or the address that cannot be reached
 */
export async function initProcessGroup(options: ProcessGroupOptions = {}): Promise<ProcessGroup> {
  if (state !== undefined)
    throw new Error('initProcessGroup was called before: call destroyProcessGroup first');
  const { initMethod = 'env://', timeout = COLLECTIVE_TIMEOUT, joinTimeout = STORE_TIMEOUT } = options;
  const placed = options.rank === undefined || options.worldSize === undefined ? placementOf() : undefined;
  const rank = options.rank ?? placed?.rank;
  const worldSize = options.worldSize ?? placed?.worldSize;
  if (rank === undefined || worldSize === undefined) {
    throw new Error(
      'initProcessGroup: give rank and worldSize, or set RANK and WORLD_SIZE in the environment',
    );
  }
  if (!Number.isInteger(rank) || rank < 0 || rank >= worldSize) {
    throw new RangeError(`initProcessGroup: rank ${rank} of ${worldSize} processes`);
  }
  const cuda = native.deviceInfo().cudaDevices > 0;
  const backend = options.backend ?? (cuda && native.hasNccl() ? 'nccl' : 'gloo');
  const { store, route, keepsStore, where } = await meet(initMethod, rank, worldSize, joinTimeout);
  const own = { ...route, backend };
  const all = await assemble(store, keepsStore, rank, worldSize, joinTimeout, own);
  const address = reachableAddress(route.own, all);
  const common = { backend, timeout };
  const everybody = Array.from({ length: worldSize }, (_, i) => i);
  const group = await makeGroup(store.prefixed('group/0/'), everybody, rank, common, address);
  state = { group, store, keepsStore, options: common, address, groups: [], made: 1 };
  joined++;
  const lostAfter = options.lostAfter ?? LOST_AFTER;
  const errorFile = process.env.REID_NATIVE_ERROR_FILE ?? '';
  native.healthStart(store.handle, rank, worldSize, HEARTBEAT, lostAfter, errorFile, where);
  return group;
}

/** A group of some of the processes. All processes call it, in the same order; null for those that are not in it. */
export async function newGroup(
  ranks: readonly number[],
  options: Partial<Pick<ProcessGroupOptions, 'backend' | 'timeout'>> = {},
): Promise<ProcessGroup | null> {
  const { group, store, address } = { ...(worldGroup() && (state as State)) };
  const members = [...new Set(ranks)].sort((a, b) => a - b);
  if (members.length !== ranks.length || members.length === 0 || members.some((r) => !(r in group.ranks))) {
    throw new RangeError(
      `newGroup: [${ranks.join(', ')}] are not different ranks from 0 to ${group.size - 1}`,
    );
  }
  const number = (state as State).made++;
  const position = members.indexOf(group.rank);
  if (position < 0) return null;
  const common = { ...(state as State).options, ...options };
  const made = await makeGroup(store.prefixed(`group/${number}/`), members, position, common, address);
  (state as State).groups.push(made);
  return made;
}

/**
 * Closes all groups, waiting at most 10 s for the others to do the same, and takes leave. Every process calls it; after
 * that `initProcessGroup` may be called again.
 *
 * @param failure why this process ends early, whatever the others do: their errors quote it
 * @throws what went wrong while the groups were closed, after everything is ended
 */
export async function destroyProcessGroup(failure = ''): Promise<void> {
  if (state === undefined) return;
  const { group, groups, store, keepsStore } = state;
  const all = [...groups.reverse(), group];
  state = undefined;
  if (failure !== '') {
    await lastWord(failure);
    if (keepsStore && group.size > 1) await sleep(3 * HEARTBEAT); // the others come and read
    await within(ABORTING, Promise.allSettled(all.map((one) => one.abort())));
    store.close();
    return;
  }
  let failed: DistributedError | undefined;
  try {
    await within(CLOSING, closeInOrder(all)); // signs of life go on meanwhile
  } catch (error) {
    failed = distributedError('destroyProcessGroup', error);
  }
  await lastWord('');
  const others = group.ranks.filter((rank) => rank !== group.rank).map((rank) => `bye/${rank}`);
  try {
    if (!keepsStore) await store.set(`bye/${group.rank}`, '');
    else if (others.length > 0) await store.wait(others, FAREWELL);
  } catch {
    // They ended in another way.
  }
  store.close();
  if (failed !== undefined) throw failed;
}

/** Communicators of several groups must be closed in the same order everywhere. */
async function closeInOrder(groups: readonly ProcessGroup[]): Promise<void> {
  const failed: unknown[] = [];
  for (const group of groups) await group.close().catch((error) => failed.push(error));
  if (failed.length > 0) throw failed[0];
}

/** A process that is cut off must be able to end, too. */
async function lastWord(failure: string): Promise<void> {
  await Promise.race([
    native.healthStop(failure.replaceAll('\n', ' ')),
    sleep(FAREWELL / 5, undefined, { ref: false }),
  ]);
}

/** The system ends this process when the one that started it ends, however that happens. Linux only. */
export function endWithParent(): void {
  native.dieWithParent();
}

interface Met {
  store: Store;
  route: Route;
  keepsStore: boolean;
  /** Where the store is, for messages. */
  where: string;
}

async function meet(method: string, rank: number, worldSize: number, timeout: number): Promise<Met> {
  if (method.startsWith('file://')) {
    const path = new URL(method).pathname;
    return {
      store: fileStore(path, worldSize, timeout),
      route: firstRoute(),
      keepsStore: false,
      where: path,
    };
  }
  const { host, port } = method === 'env://' ? meetingOf() : parseTcp(method);
  const where = `${host}:${port}`;
  // torchrun's agent keeps a store of its own at that address, which outlives every process group.
  const agent = method === 'env://' && process.env.TORCHELASTIC_USE_AGENT_STORE === 'True';
  const isServer = rank === 0 && !agent;
  try {
    const route = routeTo(host, port);
    const store =
      isServer || agent ? await tcpStore(host, port, { isServer, timeout }) : await join(host, port, timeout);
    if (isServer) await store.set('server', randomUUID());
    const attempt = process.env.TORCHELASTIC_RESTART_COUNT;
    const prefix = attempt === undefined ? '' : `attempt/${attempt}/`;
    return {
      store: store.moved(agent ? `${prefix}init/${joined}/` : prefix),
      route,
      keepsStore: isServer,
      where,
    };
  } catch (cause) {
    const what = isServer ? `cannot open the store at ${where}` : `cannot reach rank 0 at ${where}`;
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new DistributedError(`rank ${rank} ${what}: ${detail}`, { cause });
  }
}

/** Rank 0's store. From an earlier time there may still be one that rank 0 is about to close. */
async function join(host: string, port: number, timeout: number): Promise<TCPStore> {
  const end = Date.now() + timeout;
  for (;;) {
    const left = Math.max(1, end - Date.now());
    const store = await tcpStore(host, port, { timeout: left });
    const server = await store.getString('server', left).catch((error) => {
      if (lastServer === undefined) throw error;
    });
    if (server !== undefined && server !== lastServer) {
      lastServer = server;
      return store;
    }
    store.close();
    await sleep(100);
  }
}

function parseTcp(method: string): { host: string; port: number } {
  const match = /^tcp:\/\/(?:\[([^\]]+)\]|([^:/]+)):(\d+)\/?$/.exec(method);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65535) {
    throw new Error(`'${method}' is no address to meet at: expected env://, tcp://HOST:PORT or file:///PATH`);
  }
  return { host: (match[1] ?? match[2])!, port };
}

/** How a process introduces itself to the others. */
interface Introduction extends Route {
  backend: BackendName;
}

/**
 * Waits until all processes have reached the store; returns how each introduces itself, by rank.
 *
 * @throws where one has not come, or has another backend: collectives would wait for ever
 */
async function assemble(
  store: Store,
  keepsStore: boolean,
  rank: number,
  worldSize: number,
  timeout: number,
  own: Introduction,
): Promise<Introduction[]> {
  const keys = Array.from({ length: worldSize }, (_, i) => `joined/${i}`);
  /** The others, who may have begun to wait later, are to find out the same. */
  const giveUp = async (absent: readonly number[]): Promise<void> => {
    const others = keys.map((_, i) => i).filter((i) => i !== rank && !absent.includes(i));
    const done = keepsStore
      ? store.wait(
          others.map((i) => `gave-up/${i}`),
          FAREWELL,
        )
      : store.set(`gave-up/${rank}`, '');
    await done.catch(() => undefined);
  };
  await store.set(keys[rank]!, JSON.stringify(own));
  try {
    await store.wait(keys, timeout);
  } catch (cause) {
    const absent: number[] = [];
    for (const [i, key] of keys.entries()) {
      // The store itself may be what is gone.
      const came = i === rank || (await store.check([key]).catch(() => false));
      if (!came) absent.push(i);
    }
    await giveUp(absent);
    const who = absent.length === 1 ? `rank ${absent[0]} has` : `ranks ${absent.join(', ')} have`;
    throw new DistributedError(
      `${who} not come within ${Math.round(timeout / 1000)} s, of ${worldSize} processes; this is rank ${rank}. Are ` +
        'all of them started, with the same number of processes and the same address?',
      { cause },
    );
  }
  const all = await Promise.all(
    keys.map(async (key) => JSON.parse(await store.getString(key)) as Introduction),
  );
  const odd = all.findIndex(({ backend }) => backend !== all[0]!.backend);
  if (odd < 0) return all;
  await giveUp([]);
  throw new Error(
    `rank ${odd} has the backend '${all[odd]!.backend}', but rank 0 '${all[0]!.backend}': all processes need the same. By ` +
      'default it is nccl where there is a CUDA device and the addon has NCCL; `backend` of initProcessGroup says which',
  );
}

async function makeGroup(
  store: Store,
  members: readonly number[],
  position: number,
  { backend, timeout }: { backend: BackendName; timeout: number },
  address: string,
): Promise<ProcessGroup> {
  const { handle } = store;
  const nccl = backend === 'nccl';
  const networkInterface = process.env.GLOO_SOCKET_IFNAME ?? '';
  try {
    const id = await native.groupNew(
      handle,
      position,
      members.length,
      nccl,
      timeout,
      address,
      networkInterface,
    );
    return new ProcessGroup(id, position, members, store, backend);
  } catch (cause) {
    // Gloo begins with its source file and the condition that failed.
    const detail = (cause as Error).message.replace(/^\[enforce fail at .*?\] .*?\. (?=\S)/s, '');
    const network = networkInterface
      ? `on the network ${networkInterface} (GLOO_SOCKET_IFNAME)`
      : `at ${address} (GLOO_SOCKET_IFNAME chooses another network)`;
    throw new DistributedError(
      `the processes do not get connected: rank ${position} is to be reached ${network}: ${detail}`,
      { cause },
    );
  }
}
