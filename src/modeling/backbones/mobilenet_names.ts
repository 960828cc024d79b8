import type * as torch from '../../torch/index.js';

type State = Map<string, torch.Tensor>;

/** What timm calls the layers of its three kinds of blocks, in the order in which they run. */
const INVERTED_RESIDUAL = ['conv_pw', 'bn1', 'conv_dw', 'bn2', 'conv_pwl', 'bn3'];
const SEPARABLE = ['conv_dw', 'bn1', 'conv_pw', 'bn2'];
const PLAIN = ['conv', 'bn1'];

interface TimmBlock {
  /** Place among all blocks, from 1: the stem is at 0. */
  position: number;
  layers: readonly string[];
  /** Whether there is squeeze-and-excitation before the last convolution. */
  squeezed: boolean;
}

/** The blocks of a timm model by what comes before the names of their layers, `blocks.<stage>.<block>`. */
function timmBlocks(state: State): Map<string, TimmBlock> {
  const paths = new Set([...state.keys()].flatMap((key) => /^blocks\.\d+\.\d+/.exec(key)?.[0] ?? []));
  const inOrder = [...paths].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return new Map(
    inOrder.map((path, i) => {
      const has = (layer: string) => state.has(`${path}.${layer}.weight`);
      const layers = has('conv_pwl') ? INVERTED_RESIDUAL : has('conv') ? PLAIN : SEPARABLE;
      return [path, { position: i + 1, layers, squeezed: has('se.conv_reduce') }];
    }),
  );
}

/** A timm model's entries, renamed: layers outside of blocks by `stem`, others by `inBlock`. */
function fromTimm(
  state: State,
  stem: Readonly<Record<string, string>>,
  inBlock: (block: TimmBlock, layer: string) => string,
): State {
  const blocks = timmBlocks(state);
  const names: State = new Map();
  for (const [key, tensor] of state) {
    const [, path, layer, entry] = /^(?:(blocks\.\d+\.\d+)\.)?(.+)\.(\w+)$/.exec(key) ?? [];
    const block = blocks.get(path);
    const name = block === undefined ? (stem[layer] ?? layer) : inBlock(block, layer);
    names.set(`${name}.${entry}`, tensor);
  }
  return names;
}

const TIMM_STEM = { conv_stem: 'features.0.0', bn1: 'features.0.1' };

/**
 * The entries of a MobileNetV2 of torchvision or timm by the names of d-li14 and FastReID, whose own come through
 * unchanged.
 */
export function mobileNetV2Names(state: State): State {
  if (state.has('conv_stem.weight')) {
    const stem = { ...TIMM_STEM, conv_head: 'conv.0', bn2: 'conv.1' };
    return fromTimm(state, stem, ({ position, layers }, layer) => {
      const index = layers.indexOf(layer);
      // Convolution, normalisation and activation take turns, and the activation has no entries.
      return `features.${position}.conv.${3 * Math.floor(index / 2) + (index % 2)}`;
    });
  }
  if (!state.has('features.1.conv.0.0.weight')) return state;
  return new Map([...state].map(([key, tensor]) => [fromTorchvision(key, state), tensor]));
}

/** torchvision nests a block's layers by threes, the last two excepted; here they are numbered through. */
function fromTorchvision(key: string, state: State): string {
  const inBlock = /^features\.(\d+)\.conv\.(\d)\.(?:(\d)\.)?(\w+)$/.exec(key);
  if (inBlock === null) return key.replace(/^features\.18\./, 'conv.');
  const [, position, first, second, entry] = inBlock;
  const nested = state.has(`features.${position}.conv.1.0.weight`) ? 2 : 1;
  const index = second === undefined ? 2 * nested + Number(first) : 3 * Number(first) + Number(second);
  return `features.${position}.conv.${index}.${entry}`;
}

const EXCITATION: Readonly<Record<string, string>> = { 'se.conv_reduce': 'fc1', 'se.conv_expand': 'fc2' };

/** The entries of a MobileNetV3 of timm by torchvision's names, which are FastReID's; those come through unchanged. */
export function mobileNetV3Names(state: State): State {
  if (!state.has('conv_stem.weight')) return state;
  return fromTimm(state, TIMM_STEM, ({ position, layers, squeezed }, layer) => {
    if (layers === PLAIN) return `features.${position}.${layers.indexOf(layer)}`;
    const last = layers.length / 2 - 1;
    if (Object.hasOwn(EXCITATION, layer)) return `features.${position}.block.${last}.${EXCITATION[layer]}`;
    const index = layers.indexOf(layer);
    const part = Math.floor(index / 2);
    return `features.${position}.block.${squeezed && part === last ? part + 1 : part}.${index % 2}`;
  });
}
