import { scope } from '../memory.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';

/**
 * A tensor that a module learns: a leaf of the autograd graph that a module finds by itself when it is an
 * own property. It shares its memory with the tensor it is made of, and belongs to no scope.
 */
export class Parameter extends Tensor {
  constructor(data: Tensor, requiresGrad = true) {
    super(detachedHandle(data));
    this.keep();
    this.requiresGrad_(requiresGrad);
  }
}

/** A new native tensor that no JavaScript object owns yet. */
function detachedHandle(data: Tensor): number {
  return scope(() => {
    const { handle } = data.detach();
    native.keep(handle);
    return handle;
  });
}
