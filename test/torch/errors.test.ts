import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { endingWith } from '../../src/torch/synchronous.js';

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

test('what ends a mode does not hide the error that ended it', () => {
  const fail = (text: string) => () => {
    throw new Error(text);
  };
  const ends: string[] = [];
  const end = () => void ends.push('end');
  assert.equal(
    endingWith(() => 7, end),
    7,
  );
  assert.throws(() => endingWith(fail('body'), end), { message: 'body' });
  assert.deepEqual(ends, ['end', 'end']);
  assert.throws(() => endingWith(fail('body'), fail('end')), { message: 'body' });
  assert.throws(() => endingWith(() => 7, fail('end')), { message: 'end' });
});

test('what libraries of CUDA say when memory runs out is known', () => {
  for (const text of ['CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED', 'CUBLAS_STATUS_ALLOC_FAILED']) {
    // An error of libtorch that has the text in it.
    assert.throws(() => new torch.Generator(text), { code: 'ERR_OUT_OF_MEMORY' });
  }
});
