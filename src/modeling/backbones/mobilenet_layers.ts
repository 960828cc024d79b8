import * as torch from '../../torch/index.js';
import { getNorm } from '../layers/norm.js';

/** `channels` rounded to a multiple of `divisor`, not down by more than a tenth: what the MobileNets scale by. */
export function makeDivisible(channels: number, divisor: number): number {
  const rounded = Math.max(divisor, Math.floor((channels + divisor / 2) / divisor) * divisor);
  return rounded < 0.9 * channels ? rounded + divisor : rounded;
}

export interface ConvNormOptions {
  kernel?: number;
  stride?: number;
  groups?: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Last layer; none unless given. */
  activation?: torch.nn.Module;
}

/** Convolution without bias that keeps the size (at stride 1), normalisation, activation: the layers themselves. */
export function convNorm(
  inChannels: number,
  outChannels: number,
  options: ConvNormOptions,
): torch.nn.Module[] {
  const { kernel = 1, stride = 1, groups = 1, norm, activation } = options;
  const padding = Math.floor(kernel / 2);
  const conv = new torch.nn.Conv2d(inChannels, outChannels, kernel, { stride, padding, groups, bias: false });
  const layers = [conv, getNorm(norm, outChannels)];
  return activation === undefined ? layers : [...layers, activation];
}
