import type * as torch from '../../torch/index.js';

type State = Map<string, torch.Tensor>;

/** Meta's names. */
const META: readonly (readonly [RegExp, string])[] = [
  [/^downsample_layers\.0\./, 'stem.'],
  [/^downsample_layers\.(\d+)\./, 'stages.$1.downsample.'],
  [/^stages\.(\d+)\.(\d+)\./, 'stages.$1.blocks.$2.'],
  [/\.dwconv\./, '.conv_dw.'],
  [/\.pwconv(\d)\./, '.mlp.fc$1.'],
];

/** What torchvision numbers, within a block. */
const TORCHVISION_BLOCK: Readonly<Record<string, string>> = {
  'block.0': 'conv_dw',
  'block.2': 'norm',
  'block.3': 'mlp.fc1',
  'block.5': 'mlp.fc2',
};

/** timm's name for one of torchvision's: stem, stages and what lies between them are one numbered sequence there. */
function fromTorchvision(key: string): string {
  const match = /^features\.(\d+)\.(\d+)\.(.*)$/.exec(key);
  if (match === null) return key;
  const [, part, index, rest] = match;
  const layer = Number(part);
  if (layer === 0) return `stem.${index}.${rest.replace(/^\d+\./, '')}`;
  if (layer % 2 === 0) return `stages.${layer / 2}.downsample.${index}.${rest}`;
  const inBlock = rest
    .replace(/^layer_scale$/, 'gamma')
    .replace(/^block\.\d/, (n) => TORCHVISION_BLOCK[n] ?? n);
  return `stages.${(layer - 1) / 2}.blocks.${index}.${inBlock}`;
}

/** The entries of a ConvNeXt of Meta or torchvision by timm's names and in its shapes; timm's come through unchanged. */
export function timmConvNeXtNames(state: State): State {
  const renamed: State = new Map();
  const isMeta = state.has('downsample_layers.0.0.weight');
  for (const [key, tensor] of state) {
    // Meta's last normalisation belongs to timm's head.
    if (isMeta && /^norm\./.test(key)) continue;
    const name = isMeta ? META.reduce((n, [from, to]) => n.replace(from, to), key) : fromTorchvision(key);
    renamed.set(name, name.endsWith('.gamma') ? tensor.reshape([-1]) : tensor);
  }
  return renamed;
}
