import type * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

const NORM_ENTRY = /^(.+\.bn\d)\.(weight|bias|running_mean|running_var|num_batches_tracked)$/;

/**
 * Splits the batch normalisations of a file where the model has instance-batch ones: each half starts from the
 * entries of its channels, the batch half with their statistics. FastReID leaves such layers as they are.
 */
export function splitForIbn(state: Map<string, Tensor>, model: torch.nn.AnyModule): Map<string, Tensor> {
  const own = model.stateDict();
  const converted = new Map<string, Tensor>();
  for (const [key, tensor] of state) {
    const [, layer, entry] = NORM_ENTRY.exec(key) ?? [];
    const half = layer === undefined ? undefined : own.get(`${layer}.IN.weight`)?.shape[0];
    if (half === undefined) {
      converted.set(key, tensor);
    } else if (tensor.dim() === 0) {
      converted.set(`${layer}.BN.${entry}`, tensor);
    } else {
      const instance = `${layer}.IN.${entry}`;
      if (own.has(instance)) converted.set(instance, tensor.narrow(0, 0, half));
      converted.set(`${layer}.BN.${entry}`, tensor.narrow(0, half, tensor.shape[0] - half));
    }
  }
  return converted;
}
