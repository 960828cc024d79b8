import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { EventStorageState } from './events.js';
import { currentGpu, type OwnState, shard } from './parallel.js';
import { currentSeed } from './seed.js';
import type { HookBase, HookState, TrainerBase } from './train-loop.js';

/** Key of our own part of a checkpoint; FastReID's loader leaves it alone. */
export const STATE_KEY = 'reid_native';
const VERSION = 1;

/** A source of batches whose position can be saved. */
export interface StatefulLoader {
  state(): unknown;
  loadState(state: never): void;
}

/** Where to go on: an epoch, and how many of its iterations are done. */
export interface Position {
  epoch: number;
  iterInEpoch: number;
}

/** Facts of the training set that a loader's position makes sense for only. */
export interface DataFacts {
  images: number;
  identities: number;
  batch: number;
}

/**
 * Everything a run needs, beyond what FastReID's checkpoints hold, to go on as if it had never stopped: position,
 * generator, loader, hooks, recent scalars.
 *
 * @param ranks of several processes: the random states of each
 */
export function captureState(
  trainer: TrainerBase,
  position: Position,
  loader: StatefulLoader,
  data: DataFacts,
  ranks: readonly OwnState[] | null = null,
): Record<string, unknown> {
  const hooks: Record<string, HookState> = {};
  for (const hook of trainer.hooks) {
    const state = hook.stateDict();
    if (state === null) continue;
    if (hook.name in hooks) throw new Error(`two hooks keep their state under the name '${hook.name}'`);
    hooks[hook.name] = state;
  }
  return {
    version: VERSION,
    epoch: position.epoch,
    iter_in_epoch: position.iterInEpoch,
    iters_per_epoch: trainer.itersPerEpoch,
    data: { ...data },
    rng_state: torch.getRngState(),
    ...(torch.cuda.isAvailable() && {
      cuda_rng_state: cudaDevices().map((device) => torch.getRngState(device)),
    }),
    loader: loader.state(),
    ...(ranks && { ranks: ranks.map(savedOwn) }),
    hooks,
    scalars: trainer.storage.stateDict(),
  };
}

/**
 * Puts back what `captureState` took. Throws when the training set is another one.
 *
 * @param saved the checkpoint's entry, as it was read
 * @returns where to go on
 */
export function restoreState(
  saved: unknown,
  trainer: TrainerBase,
  loader: StatefulLoader,
  data: DataFacts,
): Position {
  const state = plain(saved) as {
    version: number;
    epoch: number;
    iter_in_epoch: number;
    data: DataFacts;
    rng_state: Tensor;
    cuda_rng_state?: Tensor[];
    loader: unknown;
    hooks: Record<string, HookState>;
    scalars: EventStorageState;
    ranks?: SavedOwn[];
  };
  if (state.version !== VERSION) {
    throw new Error(
      `the checkpoint's training state has version ${state.version}; this program reads ${VERSION}`,
    );
  }
  checkSameData(state.data, data);
  torch.setRngState(state.rng_state);
  // A run may go on with fewer or more devices.
  cudaDevices().forEach((device, i) => {
    const saved = state.cuda_rng_state?.[i];
    if (saved) torch.setRngState(saved, device);
  });
  loader.loadState(state.loader as never);
  restoreOwn(state.loader, state.ranks, loader);
  trainer.storage.loadStateDict(state.scalars);
  for (const hook of trainer.hooks) restoreHook(hook, state.hooks);
  for (const name of Object.keys(state.hooks)) {
    if (trainer.hooks.some((hook) => hook.name === name)) continue;
    logger.warn(`The checkpoint has state of a hook '${name}', which this run does not have: it is dropped`);
  }
  return { epoch: state.epoch, iterInEpoch: state.iter_in_epoch };
}

const cudaDevices = (): string[] => Array.from({ length: torch.cuda.deviceCount() }, (_, i) => `cuda:${i}`);

/** A rank's own part of a checkpoint. */
interface SavedOwn {
  rng: Tensor;
  cuda_rng?: Tensor;
  transforms: unknown;
}

function savedOwn({ rng, cudaRng, transforms }: OwnState): SavedOwn {
  return { rng: torch.tensor(rng), ...(cudaRng && { cuda_rng: torch.tensor(cudaRng) }), transforms };
}

/** Of several processes, each goes on with random numbers of its own. */
function restoreOwn(shared: unknown, ranks: readonly SavedOwn[] | undefined, loader: StatefulLoader): void {
  const { rank, worldSize } = shard();
  if (worldSize === 1) return;
  const own = ranks?.[rank];
  if (own !== undefined && ranks?.length === worldSize) {
    torch.setRngState(own.rng);
    if (own.cuda_rng && torch.cuda.isAvailable()) torch.setRngState(own.cuda_rng, currentGpu());
    loader.loadState({ ...(shared as object), transforms: own.transforms } as never);
    return;
  }
  if (rank === 0) {
    logger.warn(
      `The checkpoint was made by ${ranks?.length ?? 1} process(es), now there are ${worldSize}: random numbers go on ` +
        'differently from an uninterrupted run',
    );
  } else {
    torch.manualSeed((currentSeed() ?? 0) + rank);
  }
}

function restoreHook(hook: HookBase, states: Record<string, HookState>): void {
  const state = states[hook.name];
  if (state !== undefined) hook.loadStateDict(state);
}

function checkSameData(saved: DataFacts, now: DataFacts): void {
  if (saved.images === now.images && saved.identities === now.identities && saved.batch === now.batch) return;
  const text = (d: DataFacts): string =>
    `${d.images} images of ${d.identities} identities, batches of ${d.batch}`;
  throw new Error(
    `cannot resume: the checkpoint was made on ${text(saved)}, now there are ${text(now)}. Restore DATASETS and ` +
      'SOLVER.IMS_PER_BATCH, or start anew from its weights: MODEL.WEIGHTS <checkpoint> without --resume',
  );
}

/** Dicts of a checkpoint, which are read as maps, as plain objects, all the way down. */
export function plain(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([k, v]) => [String(k), plain(v)]));
  if (Array.isArray(value)) return Array.from(value, plain);
  if (value instanceof Number) return value.valueOf();
  return value;
}
