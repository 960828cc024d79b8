import type { Placement } from '../torch/distributed/environment.js';

export interface DeviceFacts {
  /** Where this process stands among others; undefined where it works alone. */
  placement: Placement | undefined;
  /** CUDA devices that this process sees, at least 1. */
  devices: number;
  /** Our launcher started it, so that all processes of the machine see the same devices. */
  launched: boolean;
}

/**
 * The CUDA device of a process, `cuda:N`: of several on a machine, each has one of its own, by its number there. A
 * device named by its index is taken as it is. SLURM, or whoever sets no LOCAL_RANK, may show each task its own device
 * alone, which then is number 0.
 *
 * @param asked MODEL.DEVICE: `cuda` or `cuda:N`
 * @throws where there is no such device, or where several processes of a machine are, or may be, to share one
 */
export function ownDevice(asked: string, { placement, devices, launched }: DeviceFacts): string {
  const { worldSize, localRank, localWorldSize } = placement ?? {
    worldSize: 1,
    localRank: 0,
    localWorldSize: 1,
  };
  const named = /^cuda:(\d+)$/.exec(asked)?.[1];
  const there = `there ${devices === 1 ? 'is' : 'are'} ${devices}`;
  if (named !== undefined) {
    if (worldSize > 1 && localWorldSize > 1) {
      throw new Error(
        `MODEL.DEVICE is '${asked}', but ${localWorldSize} processes of this machine need a GPU each: write MODEL.DEVICE ` +
          'cuda, and choose GPUs by CUDA_VISIBLE_DEVICES',
      );
    }
    if (Number(named) >= devices)
      throw new Error(`MODEL.DEVICE is '${asked}', but of CUDA devices ${there}, from 0`);
    return asked;
  }
  if (localRank === undefined) {
    if (devices === 1) return 'cuda:0';
    throw new Error(
      `this is one of ${worldSize} processes (RANK, WORLD_SIZE), but which of this machine's, nobody says: set LOCAL_RANK, ` +
        `by which each takes one of the ${devices} GPUs, or show each its own alone by CUDA_VISIBLE_DEVICES`,
    );
  }
  if (localRank < devices) return `cuda:${localRank}`;
  if (devices === 1 && !launched) return 'cuda:0';
  throw new Error(
    `process ${localRank} of this machine has no GPU: ${there}. Start at most that many (--num-gpus ${devices}), or ` +
      'train on the CPU with MODEL.DEVICE cpu',
  );
}
