import { gradsOf, noGrad } from '../autograd.js';
import { scope } from '../memory.js';
import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';

export interface ClipNormOptions {
  /** Order of the norm; Infinity for the largest absolute value (default 2). */
  normType?: number;
  /** Whether a norm that is not finite is an error (default false). */
  errorIfNonfinite?: boolean;
}

/**
 * Scales all gradients together so that the norm of their concatenation is at most `maxNorm`.
 * @returns the norm before, a scalar
 */
export function clipGradNorm_(
  params: Tensor | Iterable<Tensor>,
  maxNorm: number,
  { normType = 2, errorIfNonfinite = false }: ClipNormOptions = {},
): Tensor {
  return clipping(params, (grads) => {
    const [first] = grads;
    if (first === undefined) return aten.zeros([]);
    const norms = byKind(grads).flatMap((some) => aten._foreach_norm(some, normType));
    const { device } = first;
    const total = aten.linalg_vector_norm(aten.stack(norms.map((norm) => norm.to(device))), normType);
    if (errorIfNonfinite && !Number.isFinite(Number(total.item()))) {
      throw new Error(
        `clipGradNorm_: the total norm of order ${normType} of the gradients is ${total.item()}`,
      );
    }
    const factor = factorFor(total, maxNorm);
    for (const some of byKind(grads)) aten._foreach_mul_(some, factor.to((some[0] as Tensor).device));
    return total;
  });
}

/** Scales each gradient by itself so that its norm is at most `maxNorm`. */
export function clipEachGradNorm_(
  params: Tensor | Iterable<Tensor>,
  maxNorm: number,
  { normType = 2, errorIfNonfinite = false }: ClipNormOptions = {},
): void {
  clipping(params, (grads) => {
    for (const some of byKind(grads)) {
      const norms = aten.stack(aten._foreach_norm(some, normType));
      if (errorIfNonfinite && !norms.isfinite().all().item()) {
        throw new Error(`clipEachGradNorm_: the norm of order ${normType} of a gradient is not finite`);
      }
      aten._foreach_mul_(some, factorFor(norms, maxNorm).unbind(0));
    }
  });
}

/** Cuts every element of the gradients to [-clipValue, clipValue]. */
export function clipGradValue_(params: Tensor | Iterable<Tensor>, clipValue: number): void {
  clipping(params, (grads) => {
    for (const some of byKind(grads)) {
      aten._foreach_clamp_min_(some, -clipValue);
      aten._foreach_clamp_max_(some, clipValue);
    }
  });
}

function clipping<R>(params: Tensor | Iterable<Tensor>, clip: (grads: Tensor[]) => R): R {
  const list = Symbol.iterator in params ? [...params] : [params];
  return noGrad(() => scope(() => clip(gradsOf(list).filter((g) => g !== null))));
}

/** maxNorm / norm, at most 1; without a branch, which on a GPU would wait for the norm. */
function factorFor(norm: Tensor, maxNorm: number): Tensor {
  return norm.add(1e-6).reciprocal().mul(maxNorm).clamp(null, 1);
}

/** Lists of equal device and dtype, as the `_foreach_` operators want them. */
function byKind(tensors: readonly Tensor[]): Tensor[][] {
  const kinds = new Map<string, Tensor[]>();
  for (const t of tensors) {
    const key = `${t.device} ${t.dtype.name}`;
    const same = kinds.get(key);
    if (same === undefined) kinds.set(key, [t]);
    else same.push(t);
  }
  return [...kinds.values()];
}
