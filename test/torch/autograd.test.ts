import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);

const { autograd } = torch;
const list = (tensor: torch.Tensor | null) => Array.from(tensor!.toTypedArray() as ArrayLike<number>);
const leaf = (...values: number[]) => torch.tensor(values, { requiresGrad: true });

describe('gradient modes', () => {
  const x = leaf(1, 2);

  test('nest, and end with the function, however it ends', () => {
    assert.equal(torch.isGradEnabled(), true);
    torch.noGrad(() => {
      assert.equal(x.mul(2).requiresGrad, false);
      torch.enableGrad(() => assert.equal(x.mul(2).requiresGrad, true));
      assert.equal(torch.isGradEnabled(), false);
    });
    const failure = new Error('mine');
    for (const mode of [torch.noGrad, torch.enableGrad, torch.inferenceMode]) {
      assert.throws(
        () =>
          mode(() => {
            throw failure;
          }),
        (error) => error === failure,
      );
      assert.equal(torch.isGradEnabled(), true);
    }
    assert.equal(
      torch.noGrad(() => 5),
      5,
    );
    torch.setGradEnabled(false);
    assert.equal(torch.isGradEnabled(), false);
    torch.setGradEnabled(true);
  });

  test('inference tensors cannot be recorded', () => {
    const inside = torch.inferenceMode(() => {
      torch.inferenceMode(() => x.mul(2));
      const y = x.mul(2);
      assert.equal(y.requiresGrad, false);
      return y;
    });
    assert.equal(x.mul(2).requiresGrad, true);
    assert.throws(() => x.mul(inside), /Inference tensors cannot be saved for backward/);
  });

  test('promises are refused, since the mode would leak', async () => {
    for (const mode of [torch.noGrad, torch.enableGrad, torch.inferenceMode]) {
      assert.throws(() => mode(async () => 1), /must not be asynchronous/);
      assert.throws(() => mode(() => Promise.reject(new Error('lost'))), /must not be asynchronous/);
    }
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(torch.isGradEnabled(), true);
  });
});

function suite(mode: 'auto' | 'queue'): void {
  describe(`backward, mode ${mode}`, () => {
    test('prepare', () => autograd.setBackwardMode(mode));

    test('accumulates; the graph goes unless it is retained', () => {
      const x = leaf(1, 2, 3);
      const y = x.mul(x).sum();
      assert.equal(x.grad, null);
      y.backward(null, { retainGraph: true });
      y.backward();
      assert.deepEqual(list(x.grad), [4, 8, 12]);
      assert.throws(() => y.backward(), /second time/);
      x.grad = null;
      assert.equal(x.grad, null);
      x.grad = torch.ones([3]);
      assert.throws(() => {
        x.grad = torch.ones([4]);
      }, /shape/);
      assert.throws(() => torch.ones([2]).backward(), /does not require grad|scalar/);
      assert.throws(() => x.mul(2).backward(), /scalar/);
      x.mul(2).backward(torch.tensor([1, 0, 5]));
      assert.deepEqual(list(x.grad), [3, 1, 11]);
    });

    test('createGraph gives second derivatives', () => {
      const x = leaf(2);
      const [first] = autograd.grad(x.pow(3), x, { createGraph: true });
      assert.deepEqual(list(first!), [12]);
      const [second] = autograd.grad(first!, [x]);
      assert.deepEqual(list(second!), [12]);
      x.pow(3).backward(null, { createGraph: true });
      assert.equal(x.grad!.requiresGrad, true);
    });

    test('inputs restrict, grad returns, unused is null or an error', () => {
      const a = leaf(1);
      const b = leaf(2);
      a.mul(b).backward(null, { inputs: [a] });
      assert.deepEqual([list(a.grad), b.grad], [[2], null]);
      assert.throws(() => autograd.grad(a.mul(2), [b]), /not have been used|allow_unused/);
      const [none, some] = autograd.grad(a.mul(3), [b, a], { allowUnused: true });
      assert.deepEqual([none, list(some!)], [null, [3]]);
      const weighted = autograd.grad([a.mul(2), b.mul(3)], [a, b], { gradOutputs: [leaf(10), leaf(100)] });
      assert.deepEqual(weighted.map(list), [[20], [300]]);
      autograd.backward([a.mul(2), b.mul(3)], [torch.ones([1]), null]);
      assert.deepEqual([list(a.grad), list(b.grad)], [[4], [3]]);
    });

    test('hooks observe, replace, are removed, and run in order', () => {
      const x = leaf(1, 2);
      const y = x.mul(3);
      const seen: string[] = [];
      x.registerHook((grad) => {
        seen.push(`x ${list(grad)}`);
      });
      const doubled = x.registerHook((grad) => grad.mul(2));
      x.registerHook((grad) => void seen.push(`x again ${list(grad)}`));
      const gone = y.registerHook(() => void seen.push('never'));
      gone.remove();
      gone.remove();
      y.registerHook((grad) => {
        seen.push(`y ${list(grad)}`);
        return grad.add(1);
      });
      y.sum().backward();
      assert.deepEqual(seen, ['y 1,1', 'x 6,6', 'x again 12,12']);
      assert.deepEqual(list(x.grad), [12, 12]);
      doubled[Symbol.dispose]();
      x.grad = null;
      x.mul(3).sum().backward();
      assert.deepEqual(list(x.grad), [3, 3]);
    });

    test('a hook may remove itself or add another while it runs', () => {
      const x = leaf(1);
      let calls = 0;
      const handle = x.registerHook((grad) => {
        calls++;
        handle.remove();
        x.registerHook(() => void calls++);
        return grad.mul(2);
      });
      x.mul(1).backward();
      assert.deepEqual(list(x.grad), [2]);
      const before = calls;
      x.mul(1).backward();
      assert.equal(calls, before + 1);
      const y = x.mul(2);
      const own = y.registerHook(() => own.remove());
      y.backward(null, { retainGraph: true });
      y.backward();
    });

    test('a hook is gone even when its tensor has been disposed before', () => {
      const x = leaf(1);
      const y = x.mul(2);
      const handle = y.registerHook(() => assert.fail('removed'));
      const z = y.mul(3);
      y.dispose();
      handle.remove();
      z.backward();
      assert.deepEqual(list(x.grad), [6]);
    });

    test('an error in a hook stops backward and keeps identity and stack', () => {
      class Mine extends Error {}
      for (const make of [(x: torch.Tensor) => x, (x: torch.Tensor) => x.mul(2)]) {
        const x = leaf(1);
        const target = make(x);
        let thrown: Error | undefined;
        target.registerHook(function failingHook() {
          thrown = new Mine('in the hook');
          throw thrown;
        });
        const run = () => target.mul(2).backward();
        assert.throws(run, (error) => error === thrown && /failingHook/.test((error as Error).stack ?? ''));
        assert.equal(x.grad, null);
        const other = leaf(3);
        other.mul(2).backward();
        assert.deepEqual(list(other.grad), [2], 'the engine goes on');
      }
      const x = leaf(1);
      x.registerHook(() => {
        throw 'a string';
      });
      assert.throws(() => x.mul(2).backward(), /a string/);
    });

    test('a hook may run backward itself', () => {
      const x = leaf(1);
      const inner = leaf(5);
      const depths: number[] = [];
      const nest = (depth: number) => {
        const y = x.mul(2);
        y.registerHook(() => {
          depths.push(depth);
          torch.enableGrad(() => {
            inner.mul(inner).backward();
            if (depth < 99) nest(depth + 1);
          });
        });
        y.backward();
      };
      nest(0);
      assert.deepEqual(depths, [...Array(100).keys()]);
      assert.deepEqual(list(inner.grad), [1000]);
      assert.deepEqual(list(x.grad), [200]);
      const outer = leaf(1);
      outer.registerHook(() => {
        torch.setGradEnabled(true);
        assert.throws(() => {
          const z = leaf(1);
          z.registerHook(() => {
            throw new RangeError('inner');
          });
          z.mul(2).backward();
        }, /inner/);
        throw new TypeError('outer');
      });
      assert.throws(() => outer.mul(1).backward(), /^TypeError: outer/);
    });

    test('grad mode inside hooks is off unless a graph is created', () => {
      for (const createGraph of [false, true]) {
        const x = leaf(1);
        const modes: boolean[] = [];
        x.registerHook((grad) => {
          modes.push(torch.isGradEnabled());
          torch.enableGrad(() => modes.push(torch.isGradEnabled()));
          torch.noGrad(() => modes.push(torch.isGradEnabled()));
          return grad.mul(1);
        });
        x.mul(x).backward(null, { createGraph });
        assert.deepEqual(modes, [createGraph, true, false]);
        assert.equal(torch.isGradEnabled(), true);
        torch.noGrad(() => x.sum());
      }
    });

    test('hooks inside a scope: what they leave behind is released', () => {
      const x = leaf(1, 2);
      x.registerHook((grad) => grad.mul(2));
      const before = torch.memoryStats().liveTensors;
      torch.scope(() => x.mul(3).sum().backward());
      // Fewer, when the garbage collector has meanwhile found tensors of earlier tests.
      assert.ok(torch.memoryStats().liveTensors <= before);
      assert.deepEqual(list(x.grad), [6, 6]);
    });

    test('post-accumulate hooks see the leaf with its gradient', () => {
      const x = leaf(1);
      const seen: string[] = [];
      const first = x.registerPostAccumulateGradHook((tensor) => {
        seen.push(`first ${list(tensor.grad)}`);
        first.remove();
      });
      x.registerPostAccumulateGradHook((tensor) => {
        seen.push(`second ${list(tensor.grad)}`);
        tensor.grad = null;
      });
      x.mul(4).backward();
      x.mul(5).backward();
      assert.deepEqual(seen, ['first 4', 'second 4', 'second 5']);
      assert.equal(x.grad, null);
      assert.throws(() => x.mul(2).registerPostAccumulateGradHook(() => undefined), /leaf/);
      const y = leaf(1);
      y.registerPostAccumulateGradHook(() => {
        throw new RangeError('after');
      });
      assert.throws(() => y.mul(2).backward(), RangeError);
      assert.deepEqual(list(y.grad), [2]);
    });

    test('graphs of 100,000 nodes', () => {
      const x = leaf(1);
      torch.scope(() => {
        let y: torch.Tensor = x;
        let calls = 0;
        for (let i = 0; i < 100_000; i++) {
          const next = y.add(1);
          if (y !== x) y.dispose();
          y = next;
          if (i % 1000 === 0) y.registerHook(() => void calls++);
        }
        y.backward(null, { retainGraph: true });
        assert.equal(calls, 100);
      });
      assert.deepEqual(list(x.grad), [1]);
    });

    test('end', () => autograd.setBackwardMode('auto'));
  });
}

suite('auto');
suite('queue');
after(() => autograd.setBackwardMode('auto'));

test('retainGrad, detach, requiresGrad, leaves', () => {
  const x = leaf(1, 2);
  const y = x.mul(2);
  y.retainGrad();
  y.sum().backward();
  assert.deepEqual(list(y.grad), [1, 1]);
  assert.deepEqual([x.isLeaf, y.isLeaf, y.gradFnName, x.gradFnName], [true, false, 'MulBackward0', null]);
  const z = y.detach();
  assert.deepEqual([z.requiresGrad, z.isLeaf], [false, true]);
  z.zero_();
  assert.deepEqual(list(y), [0, 0], 'detach shares memory');
  assert.throws(() => y.requiresGrad_(false), /leaf/);
  assert.throws(() => torch.tensor([1n]).requiresGrad_(), /floating point/);
  assert.throws(() => x.add_(1), /leaf/);
  x.setData(torch.tensor([7, 8]));
  assert.deepEqual(list(x), [7, 8]);
});
