import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';
import { calls, inputs, type Value } from './operator_table.js';

torch.setNumThreads(1);

const surface: Record<string, unknown> = { ...torch };

type Result = { shape: number[]; dtype: string; bytes: string } | number | boolean | null | Result[];

const PYTHON = `
import base64, json, sys, torch
torch.set_num_threads(1)
task = json.load(sys.stdin)
def tensor(t):
    raw = bytearray(base64.b64decode(t['bytes']))
    dtype = getattr(torch, t['dtype'])
    flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return flat.reshape(t['shape'])
def value(v):
    if isinstance(v, str) and v[:1] == '$': return tensors[v[1:]]
    if isinstance(v, str) and v[:1] == '%': return getattr(torch, v[1:])
    if isinstance(v, list): return [value(e) for e in v]
    return v
def result(r):
    if isinstance(r, torch.Tensor):
        raw = r.detach().contiguous().flatten().view(torch.uint8) if r.numel() and r.dim() else r.reshape(-1).contiguous().view(torch.uint8)
        return {'shape': list(r.shape), 'dtype': str(r.dtype)[6:], 'bytes': base64.b64encode(bytes(raw.tolist())).decode()}
    if isinstance(r, (tuple, list)): return [result(e) for e in r]
    return r
out = []
for name, args, options in task['calls']:
    tensors = {k: tensor(v) for k, v in task['inputs'].items()}
    given, named = [value(a) for a in args], {k: value(v) for k, v in options.items()}
    for place in (torch, torch.Tensor, torch.ops.aten):
        try:
            found = getattr(place, name)(*given, **named)
            break
        except Exception as e:
            found = 'failed: ' + str(e)
    out.append(result(found))
json.dump(out, sys.stdout)
`;

function plain(value: unknown): Result {
  if (value instanceof torch.Tensor) {
    const array = value.detach().toTypedArray();
    const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');
    return { shape: value.shape, dtype: value.dtype.name, bytes };
  }
  if (Array.isArray(value)) return value.map(plain);
  return value as number | boolean | null;
}

test(`${calls.length} operator calls equal Python's to the last bit`, {
  skip: pythonTorch() === undefined && pythonTorchMissing,
}, () => {
  const sent = Object.fromEntries(Object.entries(inputs()).map(([name, tensor]) => [name, plain(tensor)]));
  const expected = runPython<Result[]>(PYTHON, {
    inputs: sent,
    calls: calls.map(([name, args, options]) => [name, args, options ?? {}]),
  });
  const failures: string[] = [];
  calls.forEach(([name, args, options], at) => {
    torch.scope(() => {
      const tensors = inputs();
      const value = (v: Value): unknown => {
        if (typeof v === 'string' && v.startsWith('$')) return tensors[v.slice(1)];
        if (typeof v === 'string' && v.startsWith('%')) return surface[v.slice(1)];
        return Array.isArray(v) ? v.map(value) : v;
      };
      const given = args.map(value);
      if (options) given.push(Object.fromEntries(Object.entries(options).map(([k, v]) => [k, value(v)])));
      const call = `${name}(${JSON.stringify(args)}, ${JSON.stringify(options ?? {})})`;
      let found: Result | string;
      try {
        const operator = surface[name] as (...all: unknown[]) => unknown;
        found = plain(operator(...given));
      } catch (error) {
        found = String(error).slice(0, 300);
      }
      try {
        assert.deepEqual(found, expected[at]);
      } catch {
        failures.push(
          `${call}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected[at])}`.slice(0, 700),
        );
      }
    });
  });
  assert.deepEqual(failures, []);
});
