import type { Tensor } from '../../torch/index.js';

/** The processes that train together, as far as modules need them that look at the whole batch. */
export interface BatchGroup {
  /** Number of this process. */
  readonly rank: number;
  /**
   * The tensors of one shape that every process gives, stacked by rank along a new first dimension. Every process
   * calls it for the same modules in the same order. Not recorded for backward.
   */
  gather(tensor: Tensor): Tensor;
}
