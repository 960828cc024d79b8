// Mixed precision: operators choose for themselves between a short floating-point type and float32.

import { isAvailable } from '../cuda/index.js';
import { Device, type DeviceLike } from '../device.js';
import { bfloat16, type DType, dtypeFromCode, float16 } from '../dtype.js';
import { native } from '../native.js';
import { refusePromise } from '../synchronous.js';

/** The short types that autocast computes in. */
export type LowPrecision = 'float16' | 'bfloat16';

export interface AutocastOptions {
  /** `torch.float16` or `torch.bfloat16`. Default, as in PyTorch: float16 on CUDA, bfloat16 on the CPU. */
  dtype?: DType;
  /** false switches it off within a region where it is on. Default true. */
  enabled?: boolean;
  /** Whether a weight that is used several times is cast once. Default true. */
  cacheEnabled?: boolean;
}

/**
 * Runs `body` in mixed precision, as `torch.autocast` of Python: matrix products and convolutions take float32
 * inputs in `dtype`, operators that need the range or the precision compute in float32, all others take their inputs
 * as they are. Weights stay float32, and so do their gradients.
 *
 * Only forward belongs inside; backward computes each gradient in the type that forward chose. With float16, gradients
 * need a `GradScaler`. What JavaScript hooks of forward compute is under autocast too.
 *
 * @param device of the tensors: `cpu`, `cuda`, `cuda:1` …
 * @throws for another device or dtype, for CUDA where there is none, and if `body` returns a promise
 */
export function autocast<T>(device: DeviceLike, body: () => T): T;
export function autocast<T>(device: DeviceLike, options: AutocastOptions, body: () => T): T;
export function autocast<T>(
  device: DeviceLike,
  optionsOrBody: AutocastOptions | (() => T),
  maybeBody?: () => T,
): T {
  const body = typeof optionsOrBody === 'function' ? optionsOrBody : maybeBody;
  const options = typeof optionsOrBody === 'function' ? {} : optionsOrBody;
  if (typeof body !== 'function') throw new TypeError('autocast needs a function to run');
  const type = typeOf(device);
  const before = native.autocastState(type);
  const { dtype = dtypeFromCode(before[1]), enabled = true, cacheEnabled = before[2] } = options;
  if (enabled) check(type, dtype);
  native.enterAutocast(type, enabled, dtype.code, cacheEnabled);
  try {
    return refusePromise(body(), 'autocast');
  } finally {
    native.exitAutocast(type, ...before);
  }
}

/** Runs `body` with autocast off on every device; outside of autocast it just runs it. */
export function withoutAutocast<T>(body: () => T): T {
  const on = ['cpu', 'cuda'].filter((type) => isAutocastEnabled(type));
  const run = on.reduce<() => T>((inner, type) => () => autocast(type, { enabled: false }, inner), body);
  return run();
}

/** Whether autocast is on for a type of device, here and now. */
export function isAutocastEnabled(device: DeviceLike): boolean {
  return native.autocastState(typeOf(device))[0];
}

/** The type that autocast takes on a type of device unless told otherwise. */
export function getAutocastDtype(device: DeviceLike): DType {
  return dtypeFromCode(native.autocastState(typeOf(device))[1]);
}

function typeOf(device: DeviceLike): string {
  return device instanceof Device ? device.type : device.split(':', 1)[0];
}

function check(type: string, dtype: DType): void {
  if (dtype !== float16 && dtype !== bfloat16) {
    throw new TypeError(`autocast computes in float16 or bfloat16, not in ${dtype.name}`);
  }
  if (type === 'cuda' && !isAvailable()) {
    throw new Error(
      "autocast('cuda') needs a CUDA device, and none is here; autocast('cpu') is for tensors on the CPU",
    );
  }
}
