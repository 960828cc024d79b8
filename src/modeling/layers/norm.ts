import { Registry } from '../../registry.js';
import * as torch from '../../torch/index.js';

export interface NormOptions {
  /** The scale stays as it is: excluded from training. */
  freezeWeight?: boolean;
  /** The shift stays as it is: excluded from training (the BN-neck does this). */
  freezeBias?: boolean;
}

/** A normalisation layer over the channels of an image batch `[N, C, H, W]`. */
export type NormLayer = new (channels: number, options?: NormOptions) => torch.nn.Module;

/** Names that `MODEL.BACKBONE.NORM` and `MODEL.HEADS.NORM` may use. */
export const NORM_REGISTRY = new Registry<NormLayer>('normalisation layer');

/** `torch.nn.BatchNorm2d` whose scale or shift may be frozen. */
export class BatchNorm extends torch.nn.BatchNorm2d {
  constructor(channels: number, { freezeWeight = false, freezeBias = false }: NormOptions = {}) {
    super(channels);
    this.weight?.requiresGrad_(!freezeWeight);
    this.bias?.requiresGrad_(!freezeBias);
  }
}

NORM_REGISTRY.register('BN', BatchNorm);

/** The normalisation layer called `name` for `channels` channels; throws for a name that is not registered. */
export function getNorm(name: string, channels: number, options: NormOptions = {}): torch.nn.Module {
  const Layer = NORM_REGISTRY.get(name);
  return new Layer(channels, options);
}
