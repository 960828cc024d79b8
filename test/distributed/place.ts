// Where the ranks of a test compute: RANKS_ON is a backend and a kind of device.
import * as torch from '../../src/torch/index.js';

type Place = 'gloo/cpu' | 'nccl/cuda';

export const PLACES: readonly Place[] = ['gloo/cpu', 'nccl/cuda'];

/** For a test of two ranks. */
export function skipAt(place: Place): { skip: string | false } {
  return { skip: place === 'nccl/cuda' && torch.cuda.deviceCount() < 2 ? 'needs two CUDA devices' : false };
}

const place = (process.env.RANKS_ON ?? 'gloo/cpu') as Place;
export const [backend, kind] = place.split('/') as ['gloo' | 'nccl', 'cpu' | 'cuda'];

/** In a rank: its own device, which becomes the current one. */
export function ownDevice(): string {
  if (kind === 'cpu') return 'cpu';
  const device = `cuda:${process.env.RANK}`;
  torch.cuda.setDevice(device);
  return device;
}
