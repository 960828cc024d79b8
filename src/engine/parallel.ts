import { type MetaArch, setBatchGroup } from '../modeling/index.js';
import { placementOf } from '../torch/distributed/environment.js';
import * as torch from '../torch/index.js';
import type { StepFigures, TrainableModel } from './simple-trainer.js';

const { distributed: dist } = torch;

/** Which process this is, of how many, here and on all machines, as loaders and samplers ask for it. */
export function shard(): { rank: number; worldSize: number; localWorldSize: number } {
  const worldSize = dist.getWorldSize();
  const localWorldSize = worldSize > 1 ? (placementOf()?.localWorldSize ?? worldSize) : 1;
  return { rank: dist.getRank(), worldSize, localWorldSize };
}

/** Whether this process writes checkpoints and logs. */
export function isMainProcess(): boolean {
  return dist.getRank() === 0;
}

/** A file's name but its extension, with this process's number where it is one of several: `step` → `step.rank1`. */
export function ofThisRank(stem: string): string {
  return dist.getWorldSize() > 1 ? `${stem}.rank${dist.getRank()}` : stem;
}

/** State that every rank has its own of. */
export interface OwnState {
  rng: Uint8Array;
  /** That of its GPU, where it has one. */
  cudaRng?: Uint8Array;
  transforms: unknown;
}

/** What several processes that train one model do together. All of them call everything here. */
export class Parallel<B> {
  /** Takes the model's place in training steps: its gradients are the mean over all processes. */
  readonly model: TrainableModel<B>;
  /** Why this process was asked to stop; the others do not know yet. */
  stopAsked: string | undefined;
  readonly #stop: (reason: string) => void;
  readonly #ddp: { close(): void };

  /** @param stop called in all processes after the same step, once one of them was asked to stop */
  constructor(model: MetaArch, stop: (reason: string) => void) {
    this.#stop = stop;
    const group = dist.worldGroup();
    setBatchGroup(model, {
      rank: group.rank,
      gather: (tensor) => group.allGatherStacked(tensor).wait(),
    });
    const ddp = new dist.DistributedDataParallel<[B], ReturnType<TrainableModel<B>['call']>>(model as never, {
      broadcastBuffers: false,
      // Saves a copy of all gradients each step; nothing here detaches one.
      gradientAsBucketView: true,
    });
    this.#ddp = ddp;
    this.model = {
      get training(): boolean {
        return model.training;
      },
      train: (mode) => {
        ddp.train(mode);
      },
      call: (batch) => ddp.call(batch),
      metricTensors: () => model.metricTensors(),
    };
  }

  /** Gradients are averaged no longer. */
  close(): void {
    this.#ddp.close();
  }

  /** Losses and times as the mean over all processes; at this point they also agree on whether to stop. */
  share(losses: Record<string, number>, dataTime: number): StepFigures {
    const names = Object.keys(losses);
    const own = [...names.map((name) => losses[name]!), dataTime, this.stopAsked === undefined ? 0 : 1];
    const all = torch.scope(() => {
      const values = torch.tensor(own, { dtype: torch.float64 });
      return dist.worldGroup().allReduce(values, 'avg').wait().tolist() as number[];
    });
    if (all.at(-1)! > 0) this.#stop(this.stopAsked ?? 'another rank was asked to');
    return {
      losses: Object.fromEntries(names.map((name, i) => [name, all[i]!])),
      dataTime: all.at(-2)!,
    };
  }
}

/** The buffers of rank 0 for all: running statistics that are to be evaluated must be the same everywhere. */
export function shareBuffers(model: MetaArch): void {
  if (dist.getWorldSize() > 1) dist.broadcastTensors([...model.buffers()]);
}

/** By number: `cuda` itself would be whichever was current when its generator was first asked for. */
export function currentGpu(): string {
  return `cuda:${torch.cuda.currentDevice()}`;
}

/** Random states of all ranks, for the checkpoint that rank 0 writes; null for the others. */
export async function gatherRandomStates(loader: {
  state(): { transforms: unknown };
}): Promise<OwnState[] | null> {
  const bytes = (device: string): Uint8Array => torch.getRngState(device).toTypedArray() as Uint8Array;
  return dist.gatherObject<OwnState>({
    rng: bytes('cpu'),
    ...(torch.cuda.isAvailable() && { cudaRng: bytes(currentGpu()) }),
    transforms: loader.state().transforms,
  });
}

/** Where a process begins to train. */
export interface Start {
  /** From a checkpoint. */
  resuming: boolean;
  /** From 0. */
  epoch: number;
  iterInEpoch: number;
}

/**
 * Called by all processes with where they are to begin. Throws in all of them, naming a rank that differs from rank
 * 0: each looks for the checkpoint itself, and machines may see different folders under one name.
 */
export async function checkSameStart(own: Start, outputDir: string): Promise<void> {
  const all = (await dist.allGatherObject(own)).map(describeStart);
  const rank = all.findIndex((start) => start !== all[0]);
  if (rank < 0) return;
  throw new Error(
    `rank ${rank} ${all[rank]}, but rank 0 ${all[0]}: OUTPUT_DIR (${outputDir}) must be a folder that all ranks share`,
  );
}

function describeStart({ resuming, epoch, iterInEpoch }: Start): string {
  return resuming
    ? `would resume at epoch ${epoch}, iteration ${iterInEpoch} of it`
    : 'has no checkpoint to resume from';
}
