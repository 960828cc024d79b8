import { readFileSync } from 'node:fs';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from '../support/paths.js';

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

const file = readFileSync(goldenPath('transforms.safetensors'));
const headerLength = Number(file.readBigUInt64LE(0));
const header = JSON.parse(file.subarray(8, 8 + headerLength).toString('utf8')) as Record<string, Entry>;

/** Bytes of an entry of transforms.safetensors, and its shape. */
export function goldenBytes(key: string): { bytes: Uint8Array; shape: number[] } {
  const { dtype, shape, data_offsets: offsets } = header[key];
  if (dtype !== 'U8') throw new Error(`${key} is ${dtype}`);
  const [begin, end] = offsets.map((offset) => 8 + headerLength + offset);
  return { bytes: new Uint8Array(file.subarray(begin, end)), shape };
}

/** The float32 entry `key`, in its own shape. */
export function goldenFloats(key: string): torch.Tensor {
  const { shape, data_offsets: offsets } = header[key];
  const [begin, end] = offsets.map((offset) => 8 + headerLength + offset);
  return torch.tensor(new Float32Array(new Uint8Array(file.subarray(begin, end)).buffer)).view(shape);
}

/** A height × width × channels picture of the golden file as channels × height × width, uint8. */
export function goldenImage(key: string): torch.Tensor {
  const { bytes, shape } = goldenBytes(key);
  return torch.tensor(bytes).view(shape).permute([2, 0, 1]).contiguous();
}

/** Largest difference between two uint8 tensors, and the part of their elements that differ. */
export function byteDifference(a: torch.Tensor, b: torch.Tensor): { max: number; part: number } {
  const difference = a.to(torch.int32).sub(b.to(torch.int32)).abs();
  return {
    max: Number(difference.max().item()),
    part: Number(difference.gt(0).to(torch.float64).mean().item()),
  };
}
