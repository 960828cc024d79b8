import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type FunctionContext, identityNode } from '../../src/torch/autograd.js';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

torch.setNumThreads(1);
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

const { autograd } = torch;
const list = (tensor: torch.Tensor | null) => Array.from(tensor!.toTypedArray() as ArrayLike<number>);
const leaf = (...values: number[]) => torch.tensor(values, { requiresGrad: true });

class Cube extends autograd.Function {
  static forward(context: FunctionContext, x: torch.Tensor): torch.Tensor {
    assert.equal(torch.isGradEnabled(), false, 'forward is not recorded');
    context.saveForBackward(x);
    return x.mul(x).mul(x);
  }
  static backward(context: FunctionContext, grad: torch.Tensor): torch.Tensor {
    const [x] = context.savedTensors;
    return grad.mul(x!.mul(x!)).mul(3);
  }
}

class Scaled extends autograd.Function {
  static contexts: FunctionContext[] = [];
  static forward(context: FunctionContext, factor: number, a: torch.Tensor, name: string, b: torch.Tensor) {
    Scaled.contexts.push(context);
    assert.equal(name, 'name');
    context.saveForBackward(a, b);
    return [a.mul(factor), a.add(b)];
  }
  static backward(context: FunctionContext, first: torch.Tensor, second: torch.Tensor) {
    assert.equal(context.savedTensors.length, 2);
    return [null, first.mul(2).add(second), undefined, context.needsInputGrad[3] ? second : null];
  }
}

function suite(mode: 'auto' | 'queue'): void {
  describe(`custom functions, mode ${mode}`, () => {
    test('prepare', () => autograd.setBackwardMode(mode));

    test('one output, saved tensors, double backward', () => {
      const x = leaf(2, 3);
      const y = Cube.apply(x);
      assert.ok(y instanceof torch.Tensor && y.requiresGrad);
      const [first] = autograd.grad(y.sum(), x, { createGraph: true });
      assert.deepEqual(list(first!), [12, 27]);
      const [second] = autograd.grad(first!.sum(), x);
      assert.deepEqual(list(second!), [12, 18]);
      y.sum().backward();
      assert.throws(() => y.sum().backward(), /second time|freed/);
      assert.equal(torch.noGrad(() => Cube.apply(x)).requiresGrad, false);
      assert.equal(Cube.apply(torch.ones([1])).requiresGrad, false);
    });

    test('several outputs, arguments that are no tensors, needsInputGrad', () => {
      const a = leaf(1, 2);
      const b = torch.ones([2]);
      const [first, second] = Scaled.apply(2, a, 'name', b) as [torch.Tensor, torch.Tensor];
      assert.deepEqual(Scaled.contexts.at(-1)!.needsInputGrad, [false, true, false, false]);
      first.sum().backward(null, { retainGraph: true });
      assert.deepEqual(list(a.grad), [2, 2], 'the other output counts as zeros');
      second.sum().backward();
      assert.deepEqual(list(a.grad), [3, 3]);
      b.requiresGrad_();
      Scaled.apply(2, a, 'name', b)[1]!.sum().backward();
      assert.deepEqual(list(b.grad), [1, 1]);
    });

    test('without materialised gradients, those that are missing are null', () => {
      let seen: (torch.Tensor | null)[] = [];
      class Two extends autograd.Function {
        static forward(context: FunctionContext, x: torch.Tensor) {
          context.setMaterializeGrads(false);
          return [x.mul(1), x.mul(2)];
        }
        static backward(_: FunctionContext, ...grads: torch.Tensor[]) {
          seen = grads;
          return grads[1]!;
        }
      }
      const x = leaf(1);
      Two.apply(x)[1]!.backward();
      assert.deepEqual([seen[0], list(seen[1]!)], [null, [1]]);
    });

    test('markDirty and markNonDifferentiable', () => {
      class AddOne_ extends autograd.Function {
        static forward(context: FunctionContext, x: torch.Tensor) {
          context.markDirty(x);
          const where = x.gt(1);
          context.markNonDifferentiable(where);
          return [x.add_(1), where];
        }
        static backward(_: FunctionContext, grad: torch.Tensor) {
          return grad.mul(7);
        }
      }
      const x = leaf(1, 2);
      const y = x.mul(1);
      const [z, where] = AddOne_.apply(y) as [torch.Tensor, torch.Tensor];
      assert.deepEqual(where.toArray(), [false, true]);
      assert.equal(where.requiresGrad, false);
      assert.deepEqual(list(y), [2, 3]);
      z.sum().backward();
      assert.deepEqual(list(x.grad), [7, 7]);
      assert.throws(() => AddOne_.apply(leaf(1)), /leaf/);
    });

    test('mistakes are named', () => {
      const backwardWith = (result: unknown) => {
        class Wrong extends autograd.Function {
          static forward(_: FunctionContext, x: torch.Tensor, n: number) {
            return x.mul(n);
          }
          static backward() {
            return result as torch.Tensor;
          }
        }
        return () => Wrong.apply(leaf(1, 2), 2).sum().backward();
      };
      assert.throws(backwardWith(torch.ones([1])), /1 gradients for 2 arguments/);
      assert.throws(backwardWith([null, null, null]), /3 gradients for 2 arguments/);
      assert.throws(backwardWith([5, null]), /returned a number as a gradient/);
      assert.throws(backwardWith([torch.ones([3]), null]), /shape|size/);
      backwardWith([null, null])();
      class Nothing extends autograd.Function {
        static forward(_: FunctionContext, _x: torch.Tensor) {
          return undefined as unknown as torch.Tensor;
        }
        static backward() {
          return null;
        }
      }
      assert.throws(() => Nothing.apply(leaf(1)), /must return a Tensor/);
    });

    test('errors in forward and backward keep their identity', () => {
      const failure = new RangeError('mine');
      let fail: 'forward' | 'backward' = 'forward';
      class Failing extends autograd.Function {
        static forward(_: FunctionContext, x: torch.Tensor) {
          if (fail === 'forward') throw failure;
          return x.mul(2);
        }
        static backward(): torch.Tensor {
          throw failure;
        }
      }
      const x = leaf(1);
      assert.throws(
        () => Failing.apply(x),
        (error) => error === failure,
      );
      assert.equal(torch.isGradEnabled(), true);
      fail = 'backward';
      const y = Failing.apply(x);
      assert.throws(
        () => y.backward(),
        (error) => error === failure,
      );
      assert.deepEqual(list(Cube.apply(x)), [1]);
    });

    test('an input changed after it was saved is noticed', () => {
      const x = leaf(2);
      const y = x.mul(1);
      const z = Cube.apply(y);
      torch.noGrad(() => y.add_(1));
      assert.throws(() => z.backward(), /modified by an inplace operation/);
    });

    test('functions inside functions', () => {
      class Outer extends autograd.Function {
        static forward(context: FunctionContext, x: torch.Tensor) {
          context.saveForBackward(x);
          return Cube.apply(x);
        }
        static backward(context: FunctionContext, grad: torch.Tensor) {
          const [x] = context.savedTensors;
          return torch.enableGrad(() => {
            const own = x!.detach().requiresGrad_();
            return autograd.grad(Cube.apply(own), own, { gradOutputs: grad })[0]!;
          });
        }
      }
      const x = leaf(2);
      Outer.apply(x).backward();
      assert.deepEqual(list(x.grad), [12]);
    });

    test('an identity node sees and replaces gradients', () => {
      const a = leaf(1);
      const b = leaf(2);
      let seen: unknown[] = [];
      const [c, d] = identityNode([a, b], (grads) => {
        seen = grads.map((grad) => grad && list(grad));
        return grads.map((grad) => grad?.mul(10) ?? null);
      });
      c!.mul(3).backward(null, { retainGraph: true });
      assert.deepEqual(seen, [[3], null]);
      assert.deepEqual([list(a.grad), b.grad], [[30], null]);
      d!.backward();
      assert.deepEqual(list(b.grad), [10]);
      const [e] = identityNode([a], () => []);
      assert.throws(() => e!.backward(), /one gradient for each/);
    });

    test('what a graph held is released with it', async () => {
      class Inplace extends autograd.Function {
        static forward(context: FunctionContext, x: torch.Tensor) {
          context.markDirty(x);
          context.saveForBackward(x);
          return x.mul_(2);
        }
        static backward(_: FunctionContext, grad: torch.Tensor) {
          return grad.mul(2);
        }
      }
      const settle = async () => {
        for (let i = 0; i < 4; i++) {
          gc();
          await new Promise((resolve) => setImmediate(resolve));
        }
        return torch.memoryStats().liveTensors;
      };
      const before = await settle();
      const x = leaf(1);
      for (let i = 0; i < 200; i++) {
        const y = x.mul(1);
        Inplace.apply(y).sum().backward();
        Cube.apply(x).sum().backward();
        x.mul(2).registerHook((grad) => grad.mul(2));
      }
      assert.ok((await settle()) < before + 20, `${await settle()} tensors, ${before} before`);
    });

    test('end', () => autograd.setBackwardMode('auto'));
  });
}

suite('auto');
suite('queue');
after(() => autograd.setBackwardMode('auto'));

test('hooks and custom functions give what Python gives', {
  skip: pythonTorch() === undefined && pythonTorchMissing,
}, () => {
  const expected = runPython(`
import json, sys, torch
log = []
class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x
    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        log.append(torch.is_grad_enabled())
        return g * (x * x) * 3
x = torch.tensor([0.3, -1.7], requires_grad=True)
y = x.sigmoid(); y.retain_grad()
y.register_hook(lambda g: log.append(g.tolist()))
y.register_hook(lambda g: g * 2)
x.register_post_accumulate_grad_hook(lambda t: log.append(t.grad.tolist()))
z = Cube.apply(y)
z.sum().backward(create_graph=True)
log.append(y.grad.tolist())
g = torch.autograd.grad(x.grad.sum(), x)[0]
json.dump([log, x.grad.tolist(), g.tolist()], sys.stdout)
`);
  const log: unknown[] = [];
  class Logged extends Cube {
    static override backward(context: FunctionContext, grad: torch.Tensor) {
      log.push(torch.isGradEnabled());
      return Cube.backward(context, grad);
    }
  }
  const x = leaf(0.3, -1.7);
  const y = x.sigmoid();
  y.retainGrad();
  y.registerHook((grad) => void log.push(list(grad)));
  y.registerHook((grad) => grad.mul(2));
  x.registerPostAccumulateGradHook((tensor) => void log.push(list(tensor.grad)));
  Logged.apply(y).sum().backward(null, { createGraph: true });
  log.push(list(y.grad));
  const [second] = autograd.grad(x.grad!.sum(), x);
  assert.deepEqual([log, list(x.grad), list(second!)], expected);
});
