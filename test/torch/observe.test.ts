import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);

const names = (body: () => unknown): string[] => {
  const seen: string[] = [];
  torch.observeOperators(({ name }) => seen.push(name), body);
  return seen;
};

describe('observeOperators', () => {
  const x = torch.tensor([1, 2]);

  test('reports functions and methods with arguments and result, in order', () => {
    const calls: torch.OperatorCall[] = [];
    const result = torch.observeOperators(
      (call) => calls.push(call),
      () => {
        const y = torch.add(x, 1, { alpha: 2 });
        const [values] = y.view([1, 2]).max(1) as unknown as torch.Tensor[];
        return y.mul_(values);
      },
    );
    assert.deepEqual(
      calls.map(({ name }) => name),
      ['add', 'view', 'max', 'mul_'],
    );
    assert.deepEqual(calls[0]!.args, [x, 1, { alpha: 2 }]);
    assert.equal(calls[1]!.args[0], calls[0]!.result, 'the same object from call to call');
    assert.deepEqual(calls[1]!.args[1], [1, 2]);
    assert.equal((calls[2]!.result as unknown[]).length, 2);
    assert.equal(calls[3]!.result, calls[3]!.args[0], 'in place: the object it was given');
    assert.equal(calls[3]!.result, result);
  });

  test('one call is one report, whatever libtorch does inside', () => {
    const weight = torch.ones([3, 2]);
    assert.deepEqual(
      names(() => torch.linear(x, weight)),
      ['linear'],
    );
    assert.deepEqual(
      names(() => x.sum().item()),
      ['sum', '_local_scalar_dense'],
    );
  });

  test('ends with the function, however it ends', () => {
    const seen: string[] = [];
    const failure = new Error('mine');
    assert.throws(
      () =>
        torch.observeOperators(
          ({ name }) => seen.push(name),
          () => {
            x.neg();
            throw failure;
          },
        ),
      (error) => error === failure,
    );
    x.abs();
    assert.deepEqual(seen, ['neg']);
  });

  test('a failing operator is not reported, its error is the operator’s', () => {
    const seen: string[] = [];
    assert.throws(
      () =>
        torch.observeOperators(
          ({ name }) => seen.push(name),
          () => x.view([3]),
        ),
      /aten::view/,
    );
    assert.deepEqual(seen, []);
  });

  test('the observer may call operators: these are not reported', () => {
    const sums: unknown[] = [];
    torch.observeOperators(
      ({ result }) => sums.push((result as torch.Tensor).sum().item()),
      () => x.mul(2).add(1),
    );
    assert.deepEqual(sums, [6, 8]);
  });

  test('an error of the observer comes out of the operator call', () => {
    const failure = new Error('seen enough');
    assert.throws(
      () =>
        torch.observeOperators(
          () => {
            throw failure;
          },
          () => x.neg(),
        ),
      (error) => error === failure,
    );
  });

  test('observers nest, the inner one is told first', () => {
    const told: string[] = [];
    torch.observeOperators(
      ({ name }) => told.push(`outer ${name}`),
      () => {
        x.neg();
        torch.observeOperators(
          ({ name }) => told.push(`inner ${name}`),
          () => x.abs(),
        );
        x.exp();
      },
    );
    assert.deepEqual(told, ['outer neg', 'inner abs', 'outer abs', 'outer exp']);
  });

  test('of a backward pass, what hooks call is reported', () => {
    const leaf = torch.tensor([3], { requiresGrad: true });
    const loss = leaf.mul(leaf).sum();
    leaf.registerHook((grad) => grad.mul(2));
    assert.deepEqual(
      names(() => loss.backward()),
      ['mul'],
    );
    assert.equal(leaf.grad!.item(), 12);
  });

  test('promises are refused', () => {
    assert.throws(() => names(async () => 1), /must not be asynchronous/);
  });

  test('scopes release as ever', () => {
    const before = torch.memoryStats().liveTensors;
    torch.scope(() => names(() => x.mul(2).add(1)));
    assert.ok(torch.memoryStats().liveTensors <= before);
  });
});
