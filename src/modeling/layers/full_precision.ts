import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/**
 * Runs `body` outside of autocast, on float32 copies of those tensors that are float16 or bfloat16 (others are passed
 * on as they are). Distances, angles and logarithms go through here: differences of almost equal numbers and slopes
 * near 1 do not survive eight or eleven bits.
 */
export function inFullPrecision<A extends readonly Tensor[], R>(tensors: A, body: (...full: A) => R): R {
  return torch.amp.withoutAutocast(() => body(...(tensors.map(atLeastFloat32) as unknown as A)));
}

/** The tensor itself, or a float32 copy when it is float16 or bfloat16. */
export function atLeastFloat32(tensor: Tensor): Tensor {
  const { dtype } = tensor;
  return dtype === torch.float16 || dtype === torch.bfloat16 ? tensor.to(torch.float32) : tensor;
}
