// Hooks that run when a leaf has its gradient.

import { native } from './native.js';
import { type HookHandle, type Tensor, wrap } from './tensor.js';

type PostAccumulateHook = (tensor: Tensor) => void;
// libtorch has one such hook a tensor; the list is ours.
const postAccumulate = new WeakMap<Tensor, Set<{ hook: PostAccumulateHook }>>();

export function addPostAccumulateHook(tensor: Tensor, hook: PostAccumulateHook): HookHandle {
  const existing = postAccumulate.get(tensor);
  const hooks = existing ?? new Set<{ hook: PostAccumulateHook }>();
  const entry = { hook };
  hooks.add(entry);
  if (existing === undefined) {
    native.setPostAccumulateGradHook(tensor.handle, ([id]) => {
      const seen = wrap(id!);
      for (const { hook: each } of [...hooks]) each(seen);
      return undefined;
    });
    postAccumulate.set(tensor, hooks);
  }
  const remove = () => {
    if (!hooks.delete(entry) || hooks.size > 0) return;
    postAccumulate.delete(tensor);
    if (native.alive(tensor.handle)) native.setPostAccumulateGradHook(tensor.handle, null);
  };
  return { remove, [Symbol.dispose]: remove };
}
