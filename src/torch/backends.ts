// Switches of the libraries that compute. They may be set, and read, whether or not CUDA is there.

import { native } from './native.js';

/** How exactly float32 matrix products are computed: `highest` in float32, `high` in TF32 where a GPU has it. */
export type MatmulPrecision = 'highest' | 'high' | 'medium';

class Cudnn {
  /** Times the algorithms at each new shape and keeps the fastest; pays off when shapes do not vary. Default false. */
  get benchmark(): boolean {
    return native.getBackend('cudnn.benchmark');
  }
  set benchmark(on: boolean) {
    native.setBackend('cudnn.benchmark', on);
  }

  /** Only algorithms that give the same bits each time. Default false. */
  get deterministic(): boolean {
    return native.getBackend('cudnn.deterministic');
  }
  set deterministic(on: boolean) {
    native.setBackend('cudnn.deterministic', on);
  }

  /** Convolutions of float32 in TF32, with ten bits of precision, where the GPU has it. Default true, as in PyTorch. */
  get allowTf32(): boolean {
    return native.getBackend('cudnn.allowTf32');
  }
  set allowTf32(on: boolean) {
    native.setBackend('cudnn.allowTf32', on);
  }
}

/** cuDNN, which convolves on NVIDIA's GPUs. */
export const cudnn: {
  benchmark: boolean;
  deterministic: boolean;
  allowTf32: boolean;
} = new Cudnn();

/** How exactly float32 matrix products are computed; `highest` by default. */
export function getFloat32MatmulPrecision(): MatmulPrecision {
  return native.getMatmulPrecision() as MatmulPrecision;
}

/** @throws TypeError for another word */
export function setFloat32MatmulPrecision(precision: MatmulPrecision): void {
  if (!['highest', 'high', 'medium'].includes(precision)) {
    throw new TypeError(
      `the precision of matrix products is 'highest', 'high' or 'medium', not '${precision}'`,
    );
  }
  native.setMatmulPrecision(precision);
}
