import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import * as torch from '../../src/torch/index.js';
import { fill, fillModel } from './fill.js';
import { pythonTorch, pythonTorchMissing, repoRoot } from './paths.js';
import { runPython } from './python.js';

type Tensor = torch.Tensor;

export interface BitCase {
  make(): torch.nn.Module;
  /** Shape of the images. */
  shape: number[];
  /** How the model is called (default: with the images). */
  run?(model: torch.nn.Module, images: Tensor): Tensor;
  /** What the Python program is told of the model. */
  options?: unknown;
}

function crc(tensor: Tensor | null): number {
  assert.ok(tensor);
  return crc32(new Uint8Array((tensor.contiguous().toTypedArray() as Float32Array).buffer));
}

/** CRC-32 of a filled model's output in evaluation and in training, and of all gradients. */
function answer({ make, shape, run = (model, images) => model.call(images) }: BitCase): {
  found: Record<string, number>;
  keys: [string, number[]][];
} {
  const model = make();
  const keys = [...model.stateDict()].map(([key, t]): [string, number[]] => [key, t.shape]);
  fillModel(model, 1);
  const x = fill('x', shape).requiresGrad_();
  model.eval();
  const evaluated = crc(torch.noGrad(() => run(model, x)));
  model.train();
  torch.manualSeed(0);
  const y = run(model, x);
  y.backward(fill('cotangent', y.shape));
  const gradients = [...model.namedParameters()].map(([key, p]) => [key, crc(p.grad)]);
  return {
    keys,
    found: { eval: evaluated, train: crc(y), x: crc(x.grad), ...Object.fromEntries(gradients) },
  };
}

/**
 * Registers a test that models, in single precision and on one thread, have the bits of a Python program's, in
 * evaluation and in training. The program defines `make(options)`, which returns a function of images, parameters by
 * name and whether it is training; it finds what bits.py has.
 */
export function checkBits(program: string, cases: Record<string, BitCase>): void {
  test('features and gradients have the bits of plain PyTorch', {
    skip: pythonTorch() === undefined && pythonTorchMissing,
  }, () => {
    const threads = torch.getNumThreads();
    torch.setNumThreads(1);
    try {
      const answers = Object.entries(cases).map(([name, each]) => ({ name, each, ...answer(each) }));
      const request = answers.map(({ name, keys, each: { shape, options } }) => ({
        name,
        keys,
        shape,
        options,
      }));
      const source = [
        'import json, sys',
        `sys.path.insert(0, ${JSON.stringify(`${repoRoot}/test/support`)})`,
        'from bits import *',
        program,
        "answers = {c['name']: answer(make(c.get('options')), c['keys'], c['shape']) for c in json.load(sys.stdin)}",
        'print(json.dumps(answers))',
      ].join('\n');
      const expected = runPython<Record<string, Record<string, number>>>(source, request);
      for (const { name, found } of answers) assert.deepEqual(found, expected[name], name);
    } finally {
      torch.setNumThreads(threads);
    }
  });
}
