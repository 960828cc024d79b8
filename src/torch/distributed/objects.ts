// Plain JavaScript values between processes.

import { deserialize, serialize } from 'node:v8';
import { int64, uint8 } from '../dtype.js';
import { tensor as makeTensor, zeros } from '../factories.js';
import type { Tensor } from '../tensor.js';
import type { ProcessGroup } from './group.js';
import { worldGroup } from './init.js';

/** What the structured clone algorithm copies: plain objects, arrays, maps, typed arrays, dates; no tensors. */
function encode(value: unknown): Tensor {
  return makeTensor(new Uint8Array(serialize(value)), { dtype: uint8 });
}

function decode<T>(bytes: Tensor): T {
  return deserialize(Buffer.from(bytes.toTypedArray() as Uint8Array)) as T;
}

/** The values of all processes, by rank. */
export async function allGatherObject<T>(value: T, group: ProcessGroup = worldGroup()): Promise<T[]> {
  const parts = await group.allGatherUneven(encode(value));
  return parts.map((part) => decode<T>(part));
}

/** `allGatherObject`, blocking JavaScript. */
export function allGatherObjectSync<T>(value: T, group: ProcessGroup = worldGroup()): T[] {
  return group.allGatherUnevenSync(encode(value)).map((part) => decode<T>(part));
}

/** The values of all processes, by rank, for `root`; null for the others. */
export async function gatherObject<T>(
  value: T,
  root = 0,
  group: ProcessGroup = worldGroup(),
): Promise<T[] | null> {
  const own = encode(value);
  const sizes = (
    await group.allGather(makeTensor(BigInt64Array.of(BigInt(own.numel())), { dtype: int64 }))
  ).map((size) => Number(size.item()));
  const padded = zeros([Math.max(...sizes)], { dtype: uint8 });
  padded.narrow(0, 0, own.numel()).copy_(own);
  const parts = await group.gather(padded, root);
  return parts?.map((part, rank) => decode<T>(part.narrow(0, 0, sizes[rank]!))) ?? null;
}

/** `root`'s value, for every process; what the others give is ignored. */
export async function broadcastObject<T>(value: T, root = 0, group: ProcessGroup = worldGroup()): Promise<T> {
  const mine = group.rank === root ? encode(value) : undefined;
  const size = makeTensor(BigInt64Array.of(BigInt(mine?.numel() ?? 0)), { dtype: int64 });
  await group.broadcast(size, root);
  const bytes = mine ?? zeros([Number(size.item())], { dtype: uint8 });
  await group.broadcast(bytes, root);
  return mine ? value : decode<T>(bytes);
}
