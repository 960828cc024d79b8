// Multiply-accumulate operations of operators, from the shapes of their arguments.

import type { OperatorCall } from './observe.js';
import { Tensor } from './tensor.js';

type Count = (call: OperatorCall) => number;

const product = (sizes: readonly number[]): number => sizes.reduce((all, size) => all * size, 1);

function shapeOf(value: unknown): number[] {
  if (value instanceof Tensor) return value.shape;
  throw new TypeError(`expected a tensor, got ${value === null ? 'null' : typeof value}`);
}

/** Each element of the result is a sum over `inner(call)` products. */
const perResult =
  (inner: Count): Count =>
  (call) =>
    product(shapeOf(call.result)) * inner(call);

const argument = ({ args }: OperatorCall, position: number): number[] => shapeOf(args[position]);

/** Products for one channel: weight is [out, in / groups, …kernel], or transposed [in, out / groups, …kernel]. */
const kernel: Count = (call) => product(argument(call, 1).slice(1));

const convolution: Count = (call) => {
  const transposed = call.args[6] === true;
  return product(transposed ? argument(call, 0) : shapeOf(call.result)) * kernel(call);
};
const transposedConvolution: Count = (call) => product(argument(call, 0)) * kernel(call);

/** Sum over the last dimension of the argument at `position`. */
const overLast = (position: number): Count => perResult((call) => argument(call, position).at(-1) ?? 1);

/** Queries [… L, E], keys [… S, E], values [… S, Ev]: the scores, then the weighted sum. */
const attention: Count = (call) => {
  const query = argument(call, 0);
  const keys = argument(call, 1).at(-2) ?? 1;
  const width = argument(call, 2).at(-1) ?? 1;
  return product(query.slice(0, -1)) * keys * ((query.at(-1) ?? 1) + width);
};

/** All index combinations of the equation: exact for two operands, the naive way's count for more. */
const einsum: Count = ({ args }) => {
  const inputs = String(args[0]).replaceAll(' ', '').split('->')[0]!.split(',');
  const operands = args[1] as readonly unknown[];
  if (operands.length < 2) return 0;
  const sizes = new Map<string, number>();
  inputs.forEach((labels, operand) => {
    const shape = shapeOf(operands[operand]);
    // The dimensions that '...' stands for are counted from the right, as broadcasting aligns them.
    const [before = '', after = ''] = labels.split('...');
    const hidden = shape.length - before.length - after.length;
    const names = [...before, ...Array.from({ length: hidden }, (_, i) => `.${hidden - i}`), ...after];
    names.forEach((name, axis) => {
      sizes.set(name, Math.max(sizes.get(name) ?? 1, shape[axis] ?? 1));
    });
  });
  return product([...sizes.values()]);
};

const COUNTS: Readonly<Record<string, Count>> = {
  conv1d: perResult(kernel),
  conv2d: perResult(kernel),
  conv3d: perResult(kernel),
  convolution,
  _convolution: convolution,
  conv_transpose1d: transposedConvolution,
  conv_transpose2d: transposedConvolution,
  conv_transpose3d: transposedConvolution,
  linear: overLast(1),
  mm: overLast(0),
  bmm: overLast(0),
  mv: overLast(0),
  dot: overLast(0),
  matmul: overLast(0),
  addmm: overLast(1),
  addmm_: overLast(1),
  addmv: overLast(1),
  addmv_: overLast(1),
  baddbmm: overLast(1),
  baddbmm_: overLast(1),
  einsum,
  scaled_dot_product_attention: attention,
};

/**
 * Multiply-accumulate operations (one multiplication and one addition count as one) that a call stands for:
 * convolutions, matrix products and attention. 0 for every other operator, which is how the figures in
 * publications are counted.
 */
export function multiplyAccumulates(call: OperatorCall): number {
  return COUNTS[call.name]?.(call) ?? 0;
}
