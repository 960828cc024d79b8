import * as torch from '../../src/torch/index.js';

type Tensor = torch.Tensor;

const GOLDEN_RATIO = 0x9e3779b9 | 0;

/** FNV-1a, 32 bits, of the UTF-8 bytes. */
function seedOf(name: string): number {
  let hash = 2166136261;
  for (const byte of Buffer.from(name, 'utf8')) hash = Math.imul(hash ^ byte, 16777619);
  return hash;
}

/**
 * The reproducible numbers that stand for weights and inputs: a counter hash of `name`, uniform in [−1, 1),
 * through `map` (float64), rounded to float32.
 */
export function fillArray(name: string, length: number, map: (v: number) => number = (v) => v): Float32Array {
  const out = new Float32Array(length);
  let counter = seedOf(name);
  for (let i = 0; i < length; i++) {
    counter = (counter + GOLDEN_RATIO) | 0;
    let x = Math.imul(counter ^ (counter >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x ^= x >>> 16;
    out[i] = map(2 * ((x >>> 0) / 4294967296) - 1);
  }
  return out;
}

/** `fillArray` as a tensor of a shape. */
export function fill(name: string, shape: number[], map?: (v: number) => number): Tensor {
  return torch.fromTypedArray(fillArray(name, count(shape), map), shape);
}

function count(shape: number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** What a state-dict entry is filled with: by its name and shape. */
function rule(name: string, shape: number[], gain: number): ((v: number) => number) | null {
  if (name.endsWith('num_batches_tracked')) return () => 0;
  if (name.endsWith('running_mean')) return (v) => 0.1 * v;
  if (name.endsWith('running_var')) return (v) => 1 + 0.5 * ((v + 1) / 2);
  if (name.endsWith('pool_layer.p')) return null;
  if (shape.length >= 2 && name.endsWith('weight')) {
    const bound = gain * Math.sqrt(3 / count(shape.slice(1)));
    return (v) => v * bound;
  }
  if (shape.length === 1 && name.endsWith('weight')) return (v) => 1 + 0.25 * v;
  return (v) => 0.1 * v;
}

/** Overwrites every parameter and buffer of a model by the numbers its name stands for. */
export function fillModel(model: torch.nn.AnyModule, gain: number): void {
  torch.noGrad(() =>
    torch.scope(() => {
      for (const [name, tensor] of model.stateDict()) {
        const map = rule(name, tensor.shape, gain);
        if (map !== null) tensor.copy_(fill(name, tensor.shape, map));
      }
    }),
  );
}

/** Images `[n, 3, height, width]`, float32, roughly 0 to 255: fine noise on blocks of 16 × 16. */
export function images(name: string, n: number, height: number, width: number): Tensor {
  const rows = height / 16;
  const columns = width / 16;
  const coarse = fillArray(`coarse:${name}`, n * 3 * rows * columns, (v) => 70 * v);
  const fine = fillArray(`input:${name}`, n * 3 * height * width, (v) => 127.5 + 57 * v);
  // Each part is rounded to float32, then their sum.
  for (let i = 0; i < fine.length; i++) {
    const x = i % width;
    const y = Math.floor(i / width) % height;
    const plane = Math.floor(i / (width * height));
    fine[i] += coarse[(plane * rows + Math.floor(y / 16)) * columns + Math.floor(x / 16)];
  }
  return torch.fromTypedArray(fine, [n, 3, height, width]);
}
