import { noGrad } from '../autograd.js';
import type { DeviceLike } from '../device.js';
import { float32 } from '../dtype.js';
import { tensor as makeTensor, zeros_like } from '../ops.js';
import { PyTuple } from '../serialization/values.js';
import { Tensor } from '../tensor.js';
import type { ParamGroup, ParamState } from './optimizer.js';

/** A group of a state dict: hyper-parameters, and numbers in place of the parameters. */
export type PackedGroup = Record<string, unknown> & { params: number[] };

/** Optimizer state as PyTorch lays it out. */
export interface OptimizerState {
  state: Map<number, ParamState>;
  param_groups: PackedGroup[];
}

/** Implements `Optimizer.stateDict`. */
export function packState(
  groups: readonly ParamGroup[],
  state: ReadonlyMap<Tensor, ParamState>,
): OptimizerState {
  const numbers = new Map<Tensor, number>();
  const param_groups = groups.map(({ params, ...rest }) => {
    for (const p of params) numbers.set(p, numbers.size);
    const hyper = Object.entries(rest).map(([key, value]) => [key, TUPLES.has(key) ? asTuple(value) : value]);
    return { ...Object.fromEntries(hyper), params: params.map((p) => numbers.get(p) as number) };
  });
  const packed = new Map<number, ParamState>();
  for (const [param, entry] of state) {
    const number = numbers.get(param);
    if (number !== undefined) packed.set(number, { ...entry });
  }
  return { state: packed, param_groups };
}

/** What PyTorch keeps as tuples. */
const TUPLES = new Set(['betas', 'eps', 'etas', 'step_sizes']);

function asTuple(value: unknown): unknown {
  return Array.isArray(value) ? new PyTuple(...value) : value;
}

/** State by parameter and hyper-parameters by group, ready to be taken over. */
export interface LoadedState {
  state: Map<Tensor, ParamState>;
  groups: Record<string, unknown>[];
}

/** How an optimizer keeps its state. */
export interface StateForm {
  /** Where scalar state of a parameter of a loaded group goes. */
  scalarDevice: (param: Tensor, group: Record<string, unknown>) => DeviceLike;
  /** Shape of other state. */
  shapeOf: (name: string, param: Tensor) => readonly number[];
}

/** Checks a state dict against the groups and copies it; nothing is changed on an error. */
export function loadOptimizerState(
  source: unknown,
  groups: readonly ParamGroup[],
  who: string,
  { scalarDevice, shapeOf }: StateForm,
): LoadedState {
  const top = entriesOf(source, `${who}.loadStateDict`);
  const savedGroups = top.get('param_groups');
  if (!Array.isArray(savedGroups))
    throw new TypeError(`${who}.loadStateDict: 'param_groups' is missing or no list`);
  if (savedGroups.length !== groups.length) {
    throw new Error(
      `${who}.loadStateDict: the state dict has ${savedGroups.length} parameter groups, the optimizer ${groups.length}`,
    );
  }
  const byNumber = new Map<unknown, { param: Tensor; group: number }>();
  const loadedGroups = savedGroups.map((saved, i) => {
    const group = entriesOf(saved, `${who}.loadStateDict: group ${i}`);
    const numbers: unknown = group.get('params');
    const params = groups[i]?.params ?? [];
    if (!Array.isArray(numbers) || numbers.length !== params.length) {
      const found = Array.isArray(numbers) ? numbers.length : 'no';
      throw new Error(
        `${who}.loadStateDict: group ${i} has ${found} parameters in the state dict and ${params.length} in the optimizer`,
      );
    }
    numbers.forEach((number, k) => {
      byNumber.set(Number(number), { param: params[k] as Tensor, group: i });
    });
    group.delete('params');
    return Object.fromEntries(
      [...group].map(([key, value]) => [key, Array.isArray(value) ? [...value] : value]),
    );
  });
  const state = new Map<Tensor, ParamState>();
  for (const [number, entry] of entriesOf(top.get('state') ?? {}, `${who}.loadStateDict: state`)) {
    const found = byNumber.get(Number(number));
    if (found === undefined) continue;
    const { param, group } = found;
    const where = `${who}.loadStateDict: state of parameter ${number}`;
    const device = scalarDevice(param, loadedGroups[group] as Record<string, unknown>);
    state.set(param, copyEntry(entriesOf(entry, where), param, { device, shapeOf }, where));
  }
  return { state, groups: loadedGroups };
}

function copyEntry(
  entry: Map<unknown, unknown>,
  param: Tensor,
  { device, shapeOf }: { device: DeviceLike } & Pick<StateForm, 'shapeOf'>,
  where: string,
): ParamState {
  const copy: ParamState = {};
  for (const [key, value] of entry) {
    const name = String(key);
    const isScalar = value instanceof Tensor && value.dim() === 0 && param.dim() > 0;
    if (name === 'step' || isScalar) copy[name] = scalarTensor(value, device, `${where}: '${name}'`);
    else if (value instanceof Tensor)
      copy[name] = likeParam(value, param, shapeOf(name, param), `${where}: '${name}'`);
    else if (value !== null && value !== undefined) copy[name] = value;
  }
  return copy;
}

/** PyTorch keeps counts and products as float32 scalars; older versions, the count as a number. */
function scalarTensor(value: unknown, device: DeviceLike, where: string): Tensor {
  const number = Number(value instanceof Tensor ? value.item() : value);
  if (Number.isNaN(number)) throw new TypeError(`${where} is no number`);
  return makeTensor(number, { dtype: float32, device }).keep();
}

/**
 * A copy with the dtype, device and memory layout of the parameter: the fused kernels walk through
 * parameter, gradient and state side by side in memory.
 */
function likeParam(value: Tensor, param: Tensor, expected: readonly number[], where: string): Tensor {
  if (!equal(value.shape, expected)) {
    const shapes = [value.shape, expected, param.shape].map((shape) => `[${shape.join(', ')}]`);
    throw new Error(`${where} has shape ${shapes[0]}, not ${shapes[1]} as for a parameter of ${shapes[2]}`);
  }
  const empty = equal(expected, param.shape) ? zeros_like(param) : param.new_zeros([...expected]);
  return noGrad(() => empty.copy_(value).keep());
}

function equal(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** The entries of a Map or of a plain object. */
function entriesOf(value: unknown, where: string): Map<unknown, unknown> {
  if (value instanceof Map) return new Map(value);
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return new Map(Object.entries(value));
  throw new TypeError(`${where}: expected a map or an object`);
}
