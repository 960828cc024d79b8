import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';

const add = torch.add as unknown as (...args: unknown[]) => unknown;

test('an argument that no operator takes: an error with the operator and its schemas', () => {
  for (const value of [Symbol('x'), () => 1, new Date(), [Symbol('x')], [1, 'a']]) {
    assert.throws(
      () => add(torch.ones([1]), value),
      (error: Error) =>
        error instanceof TypeError && /^aten::add: .*\n {2}aten::add\.Tensor\(/s.test(error.message),
    );
  }
});

test("libtorch's own error carries operator and schema", () => {
  assert.throws(
    () => torch.matmul(torch.ones([2, 3]), torch.ones([2, 3])),
    /^Error: aten::matmul: .*\n {2}aten::matmul\(Tensor self, Tensor other\) -> Tensor$/s,
  );
});

test('a released tensor as argument: the operator is named', () => {
  const x = torch.ones([1]);
  x.dispose();
  assert.throws(() => x.add(1), /^TypeError: aten::add: this Tensor has been released/);
});
