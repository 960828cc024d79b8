import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import type { FactoryOptions } from './linear.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { pyFloat } from './printing.js';

export interface InplaceOptions {
  /** Overwrite the input instead of making a new tensor (default false). */
  inplace?: boolean;
}

/** An activation that can overwrite its input. */
abstract class InplaceActivation extends Module {
  readonly inplace: boolean;

  constructor({ inplace = false }: InplaceOptions = {}) {
    super();
    this.inplace = inplace;
  }

  override extraRepr(): string {
    return this.inplace ? 'inplace=True' : '';
  }
}

/** max(x, 0) */
export class ReLU extends InplaceActivation {
  protected forward(input: Tensor): Tensor {
    return this.inplace ? input.relu_() : input.relu();
  }
}

/** min(max(x, 0), 6) */
export class ReLU6 extends InplaceActivation {
  protected forward(input: Tensor): Tensor {
    return this.inplace ? aten.hardtanh_(input, 0, 6) : aten.hardtanh(input, 0, 6);
  }
}

/** x · σ(x) */
export class SiLU extends InplaceActivation {
  protected forward(input: Tensor): Tensor {
    return this.inplace ? aten.silu_(input) : aten.silu(input);
  }
}

/** x · tanh(softplus(x)) */
export class Mish extends InplaceActivation {
  protected forward(input: Tensor): Tensor {
    return this.inplace ? aten.mish_(input) : aten.mish(input);
  }
}

/** min(max(x + 3, 0), 6) / 6 */
export class Hardsigmoid extends InplaceActivation {
  protected forward(input: Tensor): Tensor {
    return this.inplace ? aten.hardsigmoid_(input) : aten.hardsigmoid(input);
  }

  // PyTorch prints nothing here.
  override extraRepr(): string {
    return '';
  }
}

/** x · hardsigmoid(x) */
export class Hardswish extends InplaceActivation {
  protected forward(input: Tensor): Tensor {
    return this.inplace ? aten.hardswish_(input) : aten.hardswish(input);
  }

  // PyTorch prints nothing here.
  override extraRepr(): string {
    return '';
  }
}

/** x where positive, else negativeSlope · x. */
export class LeakyReLU extends InplaceActivation {
  readonly negativeSlope: number;

  constructor(negativeSlope = 0.01, options: InplaceOptions = {}) {
    super(options);
    this.negativeSlope = negativeSlope;
  }

  protected forward(input: Tensor): Tensor {
    const { negativeSlope } = this;
    return this.inplace ? aten.leaky_relu_(input, negativeSlope) : aten.leaky_relu(input, negativeSlope);
  }

  override extraRepr(): string {
    return `negative_slope=${this.negativeSlope}${this.inplace ? ', inplace=True' : ''}`;
  }
}

/** x where positive, else alpha · (eˣ − 1). */
export class ELU extends InplaceActivation {
  readonly alpha: number;

  constructor(alpha = 1, options: InplaceOptions = {}) {
    super(options);
    this.alpha = alpha;
  }

  protected forward(input: Tensor): Tensor {
    return this.inplace ? aten.elu_(input, this.alpha) : aten.elu(input, this.alpha);
  }

  override extraRepr(): string {
    return `alpha=${pyFloat(this.alpha)}${this.inplace ? ', inplace=True' : ''}`;
  }
}

export interface GeluOptions {
  /** `tanh` for the approximation by a hyperbolic tangent (default `none`). */
  approximate?: 'none' | 'tanh';
}

/** x · Φ(x), Φ the distribution function of the standard normal distribution. */
export class GELU extends Module {
  readonly approximate: 'none' | 'tanh';

  constructor({ approximate = 'none' }: GeluOptions = {}) {
    super();
    this.approximate = approximate;
  }

  protected forward(input: Tensor): Tensor {
    return aten.gelu(input, { approximate: this.approximate });
  }

  override extraRepr(): string {
    return `approximate='${this.approximate}'`;
  }
}

/** 1 / (1 + e⁻ˣ) */
export class Sigmoid extends Module {
  protected forward(input: Tensor): Tensor {
    return aten.sigmoid(input);
  }
}

export class Tanh extends Module {
  protected forward(input: Tensor): Tensor {
    return aten.tanh(input);
  }
}

/** Exponentials divided by their sum along `dim`. */
export class Softmax extends Module {
  readonly dim: number;

  constructor(dim: number) {
    super();
    this.dim = dim;
  }

  protected forward(input: Tensor): Tensor {
    return aten.softmax(input, this.dim);
  }

  override extraRepr(): string {
    return `dim=${this.dim}`;
  }
}

/** log(1 + e^(beta · x)) / beta; the identity above `threshold`. */
export class Softplus extends Module {
  readonly beta: number;
  readonly threshold: number;

  constructor(beta = 1, threshold = 20) {
    super();
    this.beta = beta;
    this.threshold = threshold;
  }

  protected forward(input: Tensor): Tensor {
    return aten.softplus(input, this.beta, this.threshold);
  }

  override extraRepr(): string {
    return `beta=${pyFloat(this.beta)}, threshold=${pyFloat(this.threshold)}`;
  }
}

/** x where positive, else weight · x with a learned weight for all channels (dimension 1) or for each. */
export class PReLU extends Module {
  readonly numParameters: number;
  /** [numParameters] */
  weight: Parameter;

  constructor(numParameters = 1, { device, dtype }: FactoryOptions = {}) {
    super();
    this.numParameters = numParameters;
    this.weight = new Parameter(aten.full([numParameters], 0.25, { device, dtype }));
  }

  protected forward(input: Tensor): Tensor {
    return aten.prelu(input, this.weight);
  }

  override extraRepr(): string {
    return `num_parameters=${this.numParameters}`;
  }
}
