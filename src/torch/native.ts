// Loads the addon and says what it is made of. Nothing else in src/ touches `build/`.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NativeCuda } from './cuda/native.js';

/** An opaque value; when V8 collects it, the tensor it guards is released. */
export type Guard = object;

/** The functions of native/*.cc. A tensor crosses as its id, a number; 0 stands for no tensor. */
export interface Native {
  // memory.cc
  readonly exchangeBytes: number;
  readonly exchangeCapacity: number;
  attach(buffer: ArrayBuffer): void;
  guard(id: number): Guard;
  keep(id: number): void;
  dispose(id: number): void;
  alive(id: number): boolean;
  scopeOpen(): number;
  scopeClose(mark: number): void;
  liveIds(): number[];
  memoryStats(): { liveTensors: number; liveBytes: number; peakBytes: number };
  resetPeak(): void;
  // operators.cc
  call(): void;
  resolve(name: string): number;
  schemas(name?: string): [schema: string, reason: string][];
  intern(text: string): number;
  takeString(index: number): string;
  // tensor.cc
  info(): void;
  fromBuffer(
    buffer: ArrayBufferLike,
    byteOffset: number,
    byteLength: number,
    dtype: number,
    shape: readonly number[],
    copy: boolean,
  ): number;
  readBytes(id: number, into: ArrayBuffer): void;
  storage(id: number): [key: number, bytes: number, offset: number];
  asStorageView(
    id: number,
    dtype: number,
    offset: number,
    sizes: readonly number[],
    strides: readonly number[],
  ): number;
  setData(id: number, source: number): void;
  // autograd.cc
  backward(
    tensors: number[],
    gradients: number[],
    retainGraph: boolean | undefined,
    createGraph: boolean,
    inputs: number[],
  ): void;
  grad(
    outputs: number[],
    inputs: number[],
    gradOutputs: number[],
    retainGraph: boolean | undefined,
    createGraph: boolean,
    allowUnused: boolean,
  ): number[];
  setGradEnabled(enabled: boolean): void;
  isGradEnabled(): boolean;
  pushInferenceMode(enabled: boolean): void;
  popInferenceMode(): void;
  setRequiresGrad(id: number, requires: boolean): void;
  getGrad(id: number): number;
  setGrad(id: number, grad: number): void;
  gradsOf(ids: number[]): number[];
  retainGrad(id: number): void;
  gradFnName(id: number): string | null;
  registerHook(id: number, hook: (ids: number[]) => number[] | undefined): number;
  removeHook(id: number, handle: number): void;
  setPostAccumulateGradHook(id: number, hook: ((ids: number[]) => undefined) | null): void;
  identity(ids: number[], onGrad: (ids: number[]) => number[] | undefined): number[];
  applyFunction(
    inputs: number[],
    forward: () => [
      outputs: number[],
      saved: number[],
      dirty: number[],
      fixed: number[],
      materialize: boolean,
    ],
    backward: (ids: number[]) => number[],
  ): number[];
  setForceQueue(force: boolean): void;
  // autocast.cc
  autocastState(type: string): [enabled: boolean, dtype: number, cache: boolean];
  enterAutocast(type: string, enabled: boolean, dtype: number, cache: boolean): void;
  exitAutocast(type: string, enabled: boolean, dtype: number, cache: boolean): void;
  // layout.cc
  unlikeLayouts(ids: number[], others: number[][]): number[];
  // positions.cc
  sortedPositions(values: number, columns: number): number;
  countBefore(values: number, bounds: number, columns: number): number;
  // backends.cc
  getBackend(name: string): boolean;
  setBackend(name: string, on: boolean): void;
  getMatmulPrecision(): string;
  setMatmulPrecision(precision: string): void;
  // cuda.cc, where it was compiled with CUDA
  readonly cuda?: NativeCuda;
  // serialization.cc
  allocateBytes(length: number): number;
  copyBytes(id: number, byteOffset: number, bytes: Uint8Array, intoTensor: boolean): void;
  // context.cc
  version(): string;
  deviceInfo(): { cudaBuilt: boolean; cudaDevices: number; cpuCapability: string; jpeg: boolean };
  getNumThreads(): number;
  setNumThreads(count: number): void;
  newGenerator(device: string): number;
  defaultGenerator(device: string): number;
  freeGenerator(id: number): void;
  generatorSeed(id: number, seed: number | bigint): void;
  generatorInitialSeed(id: number): bigint;
  generatorGetState(id: number): number;
  generatorSetState(id: number, state: number): void;
  manualSeed(seed: number | bigint): void;
  // profiler.cc
  startProfiler(memory: boolean, shapes: boolean): void;
  stopProfiler(tracePath: string | undefined): [names: string[], numbers: Float64Array];
  pushRange(name: string): number;
  popRange(depth: number): void;
  // image.cc
  imageLoadBatch(
    sources: readonly (string | Uint8Array)[],
    out: number,
    threads: number,
    programs?: readonly Float64Array[],
    cache?: NativeImageCache,
  ): Promise<ImageFailure[]>;
  imageProcessInto(
    rgb: Uint8Array,
    height: number,
    width: number,
    out: number,
    index: number,
    program?: Float64Array,
    cache?: NativeImageCache,
    path?: string,
  ): Promise<ImageFailure[]>;
  imageDecode(source: string | Uint8Array): Promise<number | ImageFailure>;
  imageCacheOpen(folder: string, limit: number, shares: number): NativeImageCache;
  imageCacheStats(cache: NativeImageCache): { hits: number; images: number; bytes: number };
  // distributed_store.cc
  storeTcp(
    host: string,
    port: number,
    isServer: boolean,
    timeoutMs: number,
  ): Promise<[id: number, port: number]>;
  storeFile(path: string, processes: number, timeoutMs: number): number;
  storePrefix(id: number, prefix: string): number;
  storeClose(id: number): void;
  storeSet(id: number, key: string, value: Uint8Array): Promise<void>;
  storeGet(id: number, key: string, timeoutMs: number): Promise<Uint8Array>;
  storeAdd(id: number, key: string, amount: number): Promise<number>;
  storeWait(id: number, keys: readonly string[], timeoutMs: number): Promise<void>;
  storeCheck(id: number, keys: readonly string[]): Promise<boolean>;
  storeDelete(id: number, key: string): Promise<boolean>;
  addressesTo(host: string, port: number): [own: string, theirs: string];
  // distributed_group.cc
  groupNew(
    store: number,
    rank: number,
    size: number,
    nccl: boolean,
    timeoutMs: number,
    address: string,
    networkInterface: string,
  ): Promise<number>;
  groupClose(id: number, graceful: boolean): Promise<void>;
  collective(
    group: number,
    name: string,
    inputs: number[],
    outputs: number[],
    number: number,
    op: number,
    outputSplits: readonly number[],
    inputSplits: readonly number[],
    tag: number,
  ): number;
  workWait(id: number): void;
  workPromise(id: number): Promise<void>;
  workForget(id: number): void;
  hasNccl(): boolean;
  // distributed_health.cc
  healthStart(
    store: number,
    rank: number,
    size: number,
    intervalMs: number,
    lostAfterMs: number,
    errorFile: string,
    address: string,
  ): void;
  healthStop(failure: string): Promise<void>;
  healthReport(limitMs: number, orBehind: boolean): string;
  dieWithParent(): void;
  // distributed_reducer.cc
  broadcastCoalesced(group: number, ids: number[]): void;
  reducerNew(
    group: number,
    parameters: number[],
    names: readonly string[],
    bucketBytes: number,
    firstBucketBytes: number,
    findUnused: boolean,
    gradientAsBucketView: boolean,
  ): number;
  reducerForward(id: number, averaging: boolean): void;
  reducerBackward(id: number, outputs: number[]): void;
  reducerClose(id: number): void;
}

declare const cacheBrand: unique symbol;

/** What {@link Native.imageCacheOpen} gives. */
export interface NativeImageCache {
  readonly [cacheBrand]: true;
}

/** A picture that was not loaded. */
export interface ImageFailure {
  /** Which of the sources. */
  index: number;
  /** Not a broken picture, but one that this decoder does not read. */
  unsupported: boolean;
  message: string;
}

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

interface BuildRecord {
  root: string;
  version: string;
}

function buildRecord(): BuildRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(packageRoot, 'build', 'libtorch.json'), 'utf8')) as BuildRecord;
  } catch {
    return undefined;
  }
}

/** The version that lies at `root` now, or undefined where libtorch came without Python's version file. */
function versionAt(root: string): string | undefined {
  try {
    return /__version__ = '([^']+)'/.exec(readFileSync(join(root, 'version.py'), 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

function load(): Native {
  const addon = join(packageRoot, 'build', 'Release', 'reid_native.node');
  const record = buildRecord();
  const tried = `addon: ${addon}\nlibtorch: ${record ? `${record.version} at ${record.root}` : 'no record of a build'}`;
  const mend =
    'Run `npm run setup` in the package folder; it finds or installs libtorch and builds the addon.';
  if (!existsSync(addon)) throw new Error(`reid-native is not built.\n${tried}\n${mend}`);
  if (record) {
    const now = versionAt(record.root);
    if (now !== undefined && now !== record.version) {
      throw new Error(
        `reid-native was built for libtorch ${record.version} but finds ${now}.\n${tried}\n${mend}`,
      );
    }
  }
  try {
    return createRequire(import.meta.url)(addon) as Native;
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`reid-native's addon does not load: ${detail}\n${tried}\n${mend}`, { cause });
  }
}

export const native: Native = load();
