import * as torch from '../torch/index.js';

/**
 * All tensors of a weights file by name: a `.safetensors`, or a `.pth` with a state dict, alone or as its `model`,
 * `state_dict` or `model_state`. The `module.` that data-parallel training puts before names is taken away.
 *
 * @param key the configuration's key that names the file, for the error when it holds no tensors
 */
export function readWeights(file: string, key: string): Map<string, torch.Tensor> {
  let content: unknown = file.endsWith('.safetensors') ? torch.loadSafetensors(file) : torch.loadSync(file);
  for (const wrapper of ['model', 'state_dict', 'model_state']) {
    if (content instanceof Map && content.get(wrapper) instanceof Map) content = content.get(wrapper);
  }
  const tensors = new Map<string, torch.Tensor>();
  for (const [name, value] of content instanceof Map ? content : []) {
    if (value instanceof torch.Tensor) tensors.set(String(name).replace(/^(module\.)+/, ''), value);
  }
  if (tensors.size === 0) {
    throw new Error(`${key}: ${file} holds no state dict (a dictionary of tensors by name)`);
  }
  return tensors;
}
