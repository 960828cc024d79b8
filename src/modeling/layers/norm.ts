import { Registry } from '../../registry.js';
import * as torch from '../../torch/index.js';
import { BatchNorm, GhostBatchNorm, type NormOptions } from './batch_norm.js';
import { FrozenBatchNorm } from './frozen_batch_norm.js';
import { SyncBatchNorm } from './sync_batch_norm.js';

export { BatchNorm, GhostBatchNorm, type NormOptions, setNormSplits } from './batch_norm.js';
export { FrozenBatchNorm } from './frozen_batch_norm.js';
export { SyncBatchNorm } from './sync_batch_norm.js';

/** A normalisation layer over the channels of an image batch `[N, C, H, W]`. */
export type NormLayer = new (channels: number, options?: NormOptions) => torch.nn.Module;

/** Names that `MODEL.BACKBONE.NORM` and `MODEL.HEADS.NORM` may use. */
export const NORM_REGISTRY = new Registry<NormLayer>('normalisation layer');

const GROUPS = 32;

/** `torch.nn.GroupNorm` of 32 groups. As in FastReID nothing of it can be frozen: a head's GN learns its shift. */
export class GroupNorm32 extends torch.nn.GroupNorm {
  constructor(channels: number) {
    super(GROUPS, channels);
  }
}

NORM_REGISTRY.register('BN', BatchNorm);
NORM_REGISTRY.register('syncBN', SyncBatchNorm);
NORM_REGISTRY.register('GhostBN', GhostBatchNorm);
NORM_REGISTRY.register('FrozenBN', FrozenBatchNorm);
NORM_REGISTRY.register('GN', GroupNorm32);

/** The normalisation layer called `name` for `channels` channels; throws for a name that is not registered. */
export function getNorm(name: string, channels: number, options: NormOptions = {}): torch.nn.Module {
  const Layer = NORM_REGISTRY.get(name);
  return new Layer(channels, options);
}
