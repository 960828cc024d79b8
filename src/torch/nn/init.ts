import { noGrad } from '../autograd.js';
import { float64 } from '../dtype.js';
import { scope } from '../memory.js';
import * as aten from '../ops.js';
import type { Generator } from '../random.js';
import type { Tensor } from '../tensor.js';

/**
 * Initialisers, each drawing the same random numbers as its namesake in `torch.nn.init`. All fill the
 * tensor in place, outside of the autograd graph, and return it.
 */

/** Option of the random initialisers: the generator to draw from (default: the device's global one). */
export interface RandomOptions {
  generator?: Generator;
}

/** Which side of the weight keeps its variance: the forward pass (`fan_in`) or the backward pass. */
export type FanMode = 'fan_in' | 'fan_out';

/** Non-linearities whose gain is known. */
export type Nonlinearity =
  | 'linear'
  | 'conv1d'
  | 'conv2d'
  | 'conv3d'
  | 'sigmoid'
  | 'tanh'
  | 'relu'
  | 'leaky_relu'
  | 'selu';

export interface KaimingOptions extends RandomOptions {
  /** Negative slope of the rectifier that follows; used with `leaky_relu` only. */
  a?: number;
  mode?: FanMode;
  nonlinearity?: Nonlinearity;
}

/** Fills from the normal distribution N(mean, std²). */
export function normal_(tensor: Tensor, mean = 0, std = 1, { generator }: RandomOptions = {}): Tensor {
  return noGrad(() => tensor.normal_(mean, std, { generator }));
}

/** Fills from the uniform distribution on [a, b). */
export function uniform_(tensor: Tensor, a = 0, b = 1, { generator }: RandomOptions = {}): Tensor {
  return noGrad(() => tensor.uniform_(a, b, { generator }));
}

export function constant_(tensor: Tensor, value: number): Tensor {
  return noGrad(() => tensor.fill_(value));
}

export function zeros_(tensor: Tensor): Tensor {
  return noGrad(() => tensor.zero_());
}

export function ones_(tensor: Tensor): Tensor {
  return noGrad(() => tensor.fill_(1));
}

/** Inputs and outputs of a weight of shape [out, in, …receptive field]. At least two dimensions. */
export function calculateFan(tensor: Tensor): { fanIn: number; fanOut: number } {
  const [outputs, inputs, ...field] = tensor.shape;
  if (outputs === undefined || inputs === undefined) {
    throw new Error(`fan in and fan out need a weight of 2 dimensions or more, got shape [${tensor.shape}]`);
  }
  const receptive = field.reduce((product, n) => product * n, 1);
  return { fanIn: inputs * receptive, fanOut: outputs * receptive };
}

/** The recommended factor on the standard deviation for a non-linearity. */
export function calculateGain(nonlinearity: Nonlinearity, negativeSlope = 0.01): number {
  switch (nonlinearity) {
    case 'tanh':
      return 5 / 3;
    case 'relu':
      return Math.sqrt(2);
    case 'leaky_relu':
      return Math.sqrt(2 / (1 + negativeSlope ** 2));
    case 'selu':
      return 3 / 4;
    default:
      return 1;
  }
}

function kaimingStd(
  tensor: Tensor,
  { a = 0, mode = 'fan_in', nonlinearity = 'leaky_relu' }: KaimingOptions,
): number {
  const { fanIn, fanOut } = calculateFan(tensor);
  return calculateGain(nonlinearity, a) / Math.sqrt(mode === 'fan_in' ? fanIn : fanOut);
}

/** He initialisation from a uniform distribution ("Delving deep into rectifiers", 2015). */
export function kaimingUniform_(tensor: Tensor, options: KaimingOptions = {}): Tensor {
  if (tensor.numel() === 0) return tensor;
  const bound = Math.sqrt(3) * kaimingStd(tensor, options);
  return uniform_(tensor, -bound, bound, options);
}

/** He initialisation from a normal distribution ("Delving deep into rectifiers", 2015). */
export function kaimingNormal_(tensor: Tensor, options: KaimingOptions = {}): Tensor {
  if (tensor.numel() === 0) return tensor;
  return normal_(tensor, 0, kaimingStd(tensor, options), options);
}

function xavierStd(tensor: Tensor, gain: number): number {
  const { fanIn, fanOut } = calculateFan(tensor);
  return gain * Math.sqrt(2 / (fanIn + fanOut));
}

/** Glorot initialisation from a uniform distribution (2010). */
export function xavierUniform_(tensor: Tensor, gain = 1, options: RandomOptions = {}): Tensor {
  const bound = Math.sqrt(3) * xavierStd(tensor, gain);
  return uniform_(tensor, -bound, bound, options);
}

/** Glorot initialisation from a normal distribution (2010). */
export function xavierNormal_(tensor: Tensor, gain = 1, options: RandomOptions = {}): Tensor {
  return normal_(tensor, 0, xavierStd(tensor, gain), options);
}

/** Fills from N(mean, std²) cut to [a, b], drawing as PyTorch 2.13 does: what is refused is drawn again. */
export function truncNormal_(
  tensor: Tensor,
  mean = 0,
  std = 1,
  a = -2,
  b = 2,
  { generator }: RandomOptions = {},
): Tensor {
  return noGrad(() =>
    scope(() =>
      probability(mean, std, a, b) > 0.3
        ? fromNormal(tensor, mean, std, a, b, generator)
        : fromUniform(tensor, mean, std, a, b, generator),
    ),
  );
}

/** Draws from the whole distribution until everything lies within the bounds. */
function fromNormal(
  tensor: Tensor,
  mean: number,
  std: number,
  a: number,
  b: number,
  generator?: Generator,
): Tensor {
  // The bounds as the tensor's dtype represents them, so that no kept value lies outside.
  const lo = Number(aten.full([1], a, { dtype: tensor.dtype }).item());
  const hi = Number(aten.full([1], b, { dtype: tensor.dtype }).item());
  let result = tensor.normal_(mean, std, { generator });
  for (;;) {
    const outside = result.lt(lo).logical_or(result.gt(hi));
    if (!outside.any().item()) break;
    result = aten.where(outside, aten.empty_like(result).normal_(mean, std, { generator }), result);
  }
  return result === tensor ? tensor : tensor.copy_(result);
}

/** Draws uniformly and accepts in proportion to the density, for bounds far out in the tails. */
function fromUniform(
  tensor: Tensor,
  mean: number,
  std: number,
  a: number,
  b: number,
  generator?: Generator,
): Tensor {
  const mode = Math.max(a, Math.min(mean, b));
  const logPeak = -0.5 * ((mode - mean) / std) ** 2;
  const candidates = aten.empty_like(tensor);
  const chance = aten.empty_like(tensor);
  const refused = (): Tensor => {
    candidates.sub_(mean).div_(std).pow_(2).mul_(-0.5).sub_(logPeak);
    return chance.uniform_(0, 1, { generator }).log_().gt(candidates);
  };
  candidates.copy_(tensor.uniform_(a, b, { generator }));
  let pending = refused();
  let result = tensor;
  while (pending.any().item()) {
    candidates.uniform_(a, b, { generator });
    result = aten.where(pending, candidates, result);
    pending = aten.where(pending, refused(), pending);
  }
  return result === tensor ? tensor : tensor.copy_(result);
}

/** P(a ≤ x ≤ b) for x from N(mean, std²). */
function probability(mean: number, std: number, a: number, b: number): number {
  const z = aten.tensor([(a - mean) / std, (b - mean) / std], { dtype: float64 }).div(Math.SQRT2);
  const [low, high] = z.erf().toArray() as [number, number];
  return (high - low) / 2;
}
