import * as aten from '../ops.js';
import type { Tensor } from '../tensor.js';
import { countStep, scalar, valuesOf } from './foreach.js';
import { checkRange, Optimizer, type ParamGroup, type Params } from './optimizer.js';

export interface AdafactorOptions {
  /** At most this share of a parameter's root mean square is its step (default 1e-2). */
  lr?: number;
  /** The running averages forget step t's past by t ** beta2Decay; at most 0 (default −0.8). */
  beta2Decay?: number;
  /** Least estimate of the second moment (null: the dtype's epsilon), and least root mean square of a parameter. */
  eps?: readonly [number | null, number];
  /** Root mean square from which on an update is scaled down; at least 1 (default 1). */
  d?: number;
  /** Decay apart from the gradient, as in AdamW (default 0). */
  weightDecay?: number;
  /** Order of operations, as in PyTorch: true is that of its foreach implementation; the default is not. */
  foreach?: boolean | null;
  maximize?: boolean;
}

export interface AdafactorGroup extends ParamGroup {
  beta2_decay: number;
  eps: [number | null, number];
  d: number;
  foreach: boolean | null;
  maximize: boolean;
}

/**
 * Adafactor (Shazeer & Stern, "Adaptive Learning Rates with Sublinear Memory Cost", 2018) as PyTorch has it: of the
 * second moment of all but vectors only the means over rows and over columns are kept, `row_var` and `col_var` of
 * the last two dimensions, and the least estimate applies to their product.
 */
export class Adafactor extends Optimizer<AdafactorGroup> {
  constructor(params: Params, options: AdafactorOptions = {}) {
    const { lr = 1e-2, beta2Decay = -0.8, eps = [null, 1e-3], d = 1, weightDecay = 0 } = options;
    const { foreach = null, maximize = false } = options;
    const who = 'Adafactor';
    for (const [name, value] of Object.entries({
      lr,
      weightDecay,
      'eps[0]': eps[0] ?? 0,
      'eps[1]': eps[1],
    })) {
      checkRange(who, name, value);
    }
    if (!(beta2Decay <= 0)) throw new RangeError(`${who}: beta2Decay must be at most 0, got ${beta2Decay}`);
    if (!(d >= 1)) throw new RangeError(`${who}: d must be at least 1, got ${d}`);
    // Keys and their order are those of PyTorch's groups, so that state dicts are interchangeable.
    super(params, {
      lr,
      beta2_decay: beta2Decay,
      eps: [...eps],
      d,
      weight_decay: weightDecay,
      foreach,
      maximize,
    });
  }

  protected get hyperKeys(): readonly string[] {
    return Object.keys(this.defaults);
  }

  protected override stateShape(name: string, { shape }: Tensor): readonly number[] {
    if (name === 'row_var') return [...shape.slice(0, -1), 1];
    if (name === 'col_var') return [...shape.slice(0, -2), 1, ...shape.slice(-1)];
    return shape;
  }

  protected update(group: AdafactorGroup, params: Tensor[], grads: Tensor[]): void {
    for (const factored of [true, false]) {
      const chosen = [...params.keys()].filter((i) => (params[i] as Tensor).shape.length > 1 === factored);
      const of = (list: Tensor[]): Tensor[] => chosen.map((i) => list[i] as Tensor);
      if (chosen.length > 0) this.#step(group, of(params), of(grads), factored);
    }
  }

  #step(group: AdafactorGroup, params: Tensor[], given: Tensor[], factored: boolean): void {
    const names = factored ? ['step', 'row_var', 'col_var'] : ['step', 'variance'];
    const [steps = [], ...moments] = this.stateLists(names, params, null, (name, param) =>
      name === 'step' ? scalar(0, 'cpu') : initialMoment(param, this.stateShape(name, param)),
    );
    const { lr, beta2_decay: decay, d, maximize, weight_decay: weightDecay } = group;
    const [least, leastSize] = [group.eps[0] ?? epsilon(params[0] as Tensor), group.eps[1]];
    const grads = maximize ? aten._foreach_neg(given) : given;
    const counts = countStep(steps);
    const shares = counts.map((count) => count ** decay);
    const sizes = rootMeanSquares(params);
    const rates = counts.map((t, i) => Math.max(leastSize, sizes[i] as number) * Math.min(lr, 1 / t ** 0.5));
    if (weightDecay !== 0) aten._foreach_mul_(params, 1 - lr * weightDecay);

    const updates = factored
      ? factoredMoments(grads, moments, shares, least)
      : fullMoments(grads, moments[0] as Tensor[], shares);
    aten._foreach_clamp_min_(updates, least * least);
    aten._foreach_rsqrt_(updates);
    aten._foreach_mul_(updates, grads);
    const lengths = rootMeanSquares(updates);
    const factors = rates.map((rate, i) => -rate / Math.max(1, (lengths[i] as number) / d));
    if (group.foreach) {
      aten._foreach_mul_(updates, factors);
      aten._foreach_add_(params, updates);
    } else {
      for (const [i, param] of params.entries())
        param.add_(updates[i] as Tensor, { alpha: factors[i] as number });
    }
  }
}

function initialMoment(param: Tensor, shape: readonly number[]): Tensor {
  return shape.every((n, i) => n === param.shape[i]) ? aten.zeros_like(param) : param.new_zeros([...shape]);
}

/** Brings the running means of the squares up to date; the estimates of the second moment. */
function factoredMoments(
  grads: readonly Tensor[],
  [rows = [], columns = []]: Tensor[][],
  shares: readonly number[],
  least: number,
): Tensor[] {
  for (const [dim, means] of [
    [-1, rows],
    [-2, columns],
  ] as const) {
    const squares = grads.map((g) => aten.linalg_vector_norm(g, { ord: 2, dim: [dim], keepdim: true }));
    aten._foreach_mul_(squares, squares);
    const counts = grads.map((g) => g.shape.at(dim) as number);
    aten._foreach_div_(squares, counts);
    aten._foreach_lerp_(means, squares, shares);
  }
  const estimates = rows.map((row, i) => row.matmul(columns[i] as Tensor));
  const totals = rows.map((row) => row.mean([-2], { keepdim: true }));
  aten._foreach_clamp_min_(totals, least);
  aten._foreach_div_(estimates, totals);
  return estimates;
}

function fullMoments(
  grads: readonly Tensor[],
  variances: readonly Tensor[],
  shares: readonly number[],
): Tensor[] {
  aten._foreach_lerp_(variances, aten._foreach_mul(grads, grads), shares);
  return variances.map((v) => v.clone());
}

function rootMeanSquares(tensors: readonly Tensor[]): number[] {
  const norms = valuesOf(aten._foreach_norm(tensors, 2));
  return norms.map((norm, i) => norm / (tensors[i] as Tensor).numel() ** 0.5);
}

/** The difference between 1 and the next number of the dtype. */
function epsilon({ dtype }: Tensor): number {
  const bits: Record<string, number> = { float64: 52, float32: 23, float16: 10, bfloat16: 7 };
  return 2 ** -(bits[dtype.name] ?? 23);
}
