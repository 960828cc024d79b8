import * as torch from '../../src/torch/index.js';

/** Operators whose results have shapes that follow from data. */
const WAITS = new Set(['nonzero', 'masked_select', '_unique2', 'unique_dim', 'equal', 'is_nonzero']);
/** Methods that bring values to JavaScript. */
const READS = ['item', 'toArray', 'tolist', 'toTypedArray', 'toString'] as const;

/**
 * Stands for CUDA graphs on the CPU: a "replay" does the step anew and writes its results into those of the recording,
 * and a step that would wait for a device is refused.
 */
export class FakeRecorder implements torch.cuda.StepRecorder {
  readonly log: string[] = [];
  #step: (() => unknown) | undefined;
  #results: torch.Tensor[] = [];
  #done = false;

  warmUp<T>(step: () => T): T {
    this.log.push('warm-up');
    return step();
  }

  record<T>(step: () => T): T {
    this.log.push('record');
    const result = refusingToWait(step);
    this.#step = step;
    this.#results = tensorsIn(result);
    // The recording computed already what the first replay is to compute.
    this.#done = true;
    return result;
  }

  replay(): void {
    this.log.push('replay');
    if (this.#done) {
      this.#done = false;
      return;
    }
    torch.scope(() => {
      const results = tensorsIn(refusingToWait(this.#step as () => unknown));
      torch.noGrad(() => results.forEach((tensor, i) => void this.#results[i].detach().copy_(tensor)));
    });
  }

  reset(): void {
    this.log.push('reset');
  }
}

/** Runs `step`; throws where on a GPU it would wait for the device. */
export function refusingToWait<T>(step: () => T): T {
  const refuse = (name: string): never => {
    throw new Error(`a recorded step must not wait: ${name}`);
  };
  const methods = torch.Tensor.prototype as unknown as Record<string, unknown>;
  const before = READS.map((name) => methods[name]);
  for (const name of READS) methods[name] = () => refuse(name);
  try {
    return torch.observeOperators(({ name }) => {
      if (WAITS.has(name)) refuse(name);
    }, step);
  } finally {
    for (const [i, name] of READS.entries()) methods[name] = before[i];
  }
}

function tensorsIn(value: unknown): torch.Tensor[] {
  if (value instanceof torch.Tensor) return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(tensorsIn);
}
