// The operator calls of a function as data, which bench/python/replay.py turns into Python: so both sides run the
// same sequence of operators, whatever the model.

import * as torch from '../src/torch/index.js';

/** An argument: plain values as they are, tensors by number, the rest as a Python expression. */
export type Value = number | string | boolean | null | Value[] | { tensor: number } | { python: string };

/** One operator call. */
export interface RecordedCall {
  name: string;
  args: Value[];
  kwargs: Record<string, Value>;
  /** Whether autograd was recording. */
  grad: boolean;
  /** What it returned: numbers of new tensors, of a tensor it was given, or null for what is not a tensor. */
  results: (number | null)[];
  /** Whether the results came as a list. */
  list: boolean;
  /** Shape and dtype of each result. */
  made: ([shape: number[], dtype: string] | null)[];
  /** Dimensions of the first argument. */
  dim: number;
}

export interface Recording {
  calls: RecordedCall[];
  /** Number of the tensor that the function returned. */
  output: number;
  /** Its sum. */
  sum: number;
}

const MEMORY_FORMATS = ['contiguous_format', 'channels_last', 'channels_last_3d', 'preserve_format'];

/** Gives numbers to tensors: those known beforehand, results of calls, and constants met on the way. */
export class Recorder {
  /** Tensors that exist before the calls, by number: parameters, buffers, inputs, constants. Constants are copies. */
  readonly values = new Map<number, torch.Tensor>();
  readonly #numbers = new Map<number, number>();
  #next = 0;

  /** Makes tensors known under the next numbers, in order. */
  know(tensors: Iterable<torch.Tensor>): number[] {
    return Array.from(tensors, (tensor) => {
      const number = this.#assign(tensor);
      this.values.set(number, tensor);
      return number;
    });
  }

  /**
   * Runs `body`, which returns a tensor, and records its calls.
   * @throws for what cannot be repeated elsewhere: custom functions, generators
   */
  record(body: () => torch.Tensor): Recording {
    const calls: RecordedCall[] = [];
    return torch.scope(() => {
      const result = torch.observeOperators((call) => calls.push(this.#write(call)), body);
      const output = this.#numbers.get(result.handle);
      if (output === undefined) throw new Error('the result is no operator’s');
      return { calls, output, sum: Number(result.double().sum().item()) };
    });
  }

  #assign(tensor: torch.Tensor): number {
    const number = this.#next++;
    this.#numbers.set(tensor.handle, number);
    return number;
  }

  #write({ name, args, result }: torch.OperatorCall): RecordedCall {
    const positional = [...args];
    const last = positional.at(-1);
    const options = isOptions(last) ? (positional.pop() as Record<string, unknown>) : {};
    const value = (each: unknown): Value => this.#value(name, each);
    while (positional.length > 0 && positional.at(-1) === undefined) positional.pop();
    const kwargs = Object.entries(options).filter(([, each]) => each !== undefined);
    const results = Array.isArray(result) ? result : [result];
    const [first] = args;
    return {
      name,
      // Arguments first: a tensor not met before is a constant unless this call made it.
      args: positional.map(value),
      kwargs: Object.fromEntries(kwargs.map(([key, each]) => [key, value(each)])),
      grad: torch.isGradEnabled(),
      results: results.map((each) => {
        if (!(each instanceof torch.Tensor)) return null;
        return this.#numbers.get(each.handle) ?? this.#assign(each);
      }),
      list: Array.isArray(result),
      made: results.map((each) => (each instanceof torch.Tensor ? [each.shape, each.dtype.name] : null)),
      dim: first instanceof torch.Tensor ? first.dim() : 0,
    };
  }

  #value(name: string, value: unknown): Value {
    if (value instanceof torch.Tensor)
      return { tensor: this.#numbers.get(value.handle) ?? this.#constant(value) };
    if (value === undefined || value === null) return null;
    if (typeof value === 'boolean') return value;
    if (typeof value === 'number') return Number.isFinite(value) ? value : { python: `float('${value}')` };
    if (typeof value === 'bigint') return { python: String(value) };
    if (typeof value === 'string') {
      return MEMORY_FORMATS.includes(value) || value === 'strided' ? { python: `torch.${value}` } : value;
    }
    if (value instanceof torch.Device) return value.toString();
    if (Array.isArray(value)) return value.map((each) => this.#value(name, each));
    if (ArrayBuffer.isView(value)) return Array.from(value as Float64Array);
    if (typeof value === 'object' && 'itemsize' in value) {
      return { python: `torch.${(value as torch.DType).name}` };
    }
    throw new Error(`aten::${name}: an argument cannot be recorded`);
  }

  #constant(tensor: torch.Tensor): number {
    if (!tensor.isLeaf) {
      throw new Error(
        `a tensor (${tensor.gradFnName}) was not made by an operator call: it cannot be recorded`,
      );
    }
    const number = this.#assign(tensor);
    this.values.set(number, torch.noGrad(() => tensor.detach().clone()).keep());
    return number;
  }
}

function isOptions(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.getPrototypeOf(value) === Object.prototype;
}
