// Throws random argument lists at random operators. Run by fuzz.test.ts:
//
//   node fuzz_child.js --seed 1 --runs 3000 --note FILE     random calls; each is noted in FILE before it is made
//   node fuzz_child.js --replay FILE                        the call in FILE once more
//   ... --only add,conv2d                                   these operators only

import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import * as torch from '../../src/torch/index.js';
import { buildArguments, type Call, randomCall } from './fuzz_arguments.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '3000' },
    note: { type: 'string' },
    replay: { type: 'string' },
    only: { type: 'string' },
    skip: { type: 'string', default: '' },
  },
});

torch.setNumThreads(1);
const operators = torch as unknown as Record<string, ((...args: unknown[]) => unknown) | undefined>;
let worked = 0;
let refused = 0;

/** Makes the call; anything but a result or an Error is a failure of the property. */
function attempt(call: Call): void {
  const operator = operators[call.name];
  if (operator === undefined) return;
  torch.scope(() => {
    const args = buildArguments(call);
    try {
      use(operator(...args), call.backward);
      worked++;
    } catch (error) {
      if (!(error instanceof Error))
        throw new Error(`${call.name} threw ${String(error)}, which is no Error`);
      if (error.message === '') throw new Error(`${call.name} threw an Error without a message`);
      refused++;
    }
  });
}

// A result that cannot be looked at or differentiated would only crash later.
function use(result: unknown, backward: boolean): void {
  if (Array.isArray(result)) {
    for (const part of result.slice(0, 8)) use(part, backward);
  } else if (result instanceof torch.Tensor && !result.isDisposed) {
    if (result.numel() < 1e6) String(result);
    if (backward && result.requiresGrad && !result.dtype.isComplex) result.sum().backward();
  }
}

if (values.replay !== undefined) {
  const call = JSON.parse(readFileSync(values.replay, 'utf8')) as Call;
  attempt(call);
  console.log(worked > 0 ? 'the call gave a result' : 'the call was refused');
} else {
  const skipped = new Set(values.skip.split(','));
  const names = (values.only?.split(',') ?? torch.operatorNames()).filter((name) => !skipped.has(name));
  const note = values.note === undefined ? undefined : openSync(values.note, 'w');
  let length = 0;
  const property = fc.property(randomCall(names), (call) => {
    if (note !== undefined) {
      const text = JSON.stringify(call);
      if (text.length < length) ftruncateSync(note, 0);
      length = text.length;
      writeSync(note, text, 0);
    }
    attempt(call);
  });
  fc.assert(property, { seed: Number(values.seed), numRuns: Number(values.runs), endOnFailure: true });
  if (note !== undefined) closeSync(note);
  console.log(JSON.stringify({ operators: names.length, worked, refused }));
}
