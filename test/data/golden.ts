import { readFileSync } from 'node:fs';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from '../support/paths.js';

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

interface GoldenFile {
  file: Buffer;
  header: Record<string, Entry>;
  start: number;
}

function open(name: string): GoldenFile {
  const file = readFileSync(goldenPath(name));
  const length = Number(file.readBigUInt64LE(0));
  return { file, header: JSON.parse(file.subarray(8, 8 + length).toString('utf8')), start: 8 + length };
}

function entry({ file, header, start }: GoldenFile, key: string, type: string) {
  if (!header[key]) throw new Error(`no golden ${key}`);
  const { dtype, shape, data_offsets: offsets } = header[key];
  if (dtype !== type) throw new Error(`${key} is ${dtype}`);
  return { bytes: new Uint8Array(file.subarray(start + offsets[0], start + offsets[1])), shape };
}

const transforms = open('transforms.safetensors');
// Made by Pillow 12.3 and NumPy 2.4 from the picture `image` of the file above.
const augment = open('augment.safetensors');

/** Bytes of an entry of transforms.safetensors, and its shape. */
export function goldenBytes(key: string): { bytes: Uint8Array; shape: number[] } {
  return entry(transforms, key, 'U8');
}

/** The float32 entry `key`, in its own shape. */
export function goldenFloats(key: string): torch.Tensor {
  const { bytes, shape } = entry(transforms, key, 'F32');
  return torch.tensor(new Float32Array(bytes.buffer)).view(shape);
}

const toPlanes = ({ bytes, shape }: { bytes: Uint8Array; shape: number[] }): torch.Tensor =>
  torch.tensor(bytes).view(shape).permute([2, 0, 1]).contiguous();

/** A height × width × channels picture of the golden file as channels × height × width, uint8. */
export const goldenImage = (key: string): torch.Tensor => toPlanes(goldenBytes(key));

/** The same for what Pillow made with fixed parameters (augment.safetensors). */
export const pillowImage = (key: string): torch.Tensor => toPlanes(entry(augment, key, 'U8'));

/** Largest difference between two uint8 tensors, and the part of their elements that differ. */
export function byteDifference(a: torch.Tensor, b: torch.Tensor): { max: number; part: number } {
  const difference = a.to(torch.int32).sub(b.to(torch.int32)).abs();
  return {
    max: Number(difference.max().item()),
    part: Number(difference.gt(0).to(torch.float64).mean().item()),
  };
}
