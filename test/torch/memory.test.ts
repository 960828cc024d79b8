import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import * as torch from '../../src/torch/index.js';
import { native } from '../../src/torch/native.js';

torch.setNumThreads(1);
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
const live = () => torch.memoryStats().liveTensors;
const settle = async () => {
  for (let i = 0; i < 4; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return live();
};

describe('scopes', () => {
  test('release what is not returned, however deep it is returned', () => {
    const left: torch.Tensor[] = [];
    const make = (n: number) => {
      const tensor = torch.full([1], n);
      left.push(tensor);
      return tensor;
    };
    const before = live();
    const result = torch.scope(() => {
      make(0);
      const shared = make(1);
      const cycle: Record<string, unknown> = { a: make(2) };
      cycle.self = cycle;
      return {
        list: [shared, [make(3)], shared],
        map: new Map([['k', make(4)]]),
        set: new Set([make(5)]),
        cycle,
        nothing: null,
        number: 7,
      };
    });
    assert.deepEqual(
      left.map((t) => t.isDisposed),
      [true, false, false, false, false, false],
    );
    assert.equal(live(), before + 5);
    assert.equal(result.map.get('k')!.item(), 4);
    for (const tensor of left) tensor.dispose();
    assert.equal(live(), before);
  });

  test('nest: what an inner one returns belongs to the outer one', async () => {
    const before = await settle();
    let inner: torch.Tensor | undefined;
    torch.scope(() => {
      inner = torch.scope(() => {
        torch.ones([1]);
        return torch.scope(() => torch.ones([2]));
      });
      assert.equal(live(), before + 1);
      assert.deepEqual(inner.shape, [2]);
    });
    assert.equal(inner!.isDisposed, true);
    assert.equal(live(), before);
    const outside = torch.ones([1]);
    assert.equal(
      torch.scope(() => outside),
      outside,
    );
    assert.equal(torch.scope(() => torch.scope(() => [outside]))[0]!.isDisposed, false);
    assert.equal(outside.item(), 1);
    const unusual = torch.scope(() => torch.ones([1]));
    assert.equal(
      torch.scope(() => unusual.add_(1)),
      unusual,
      'in-place operators return what is outside',
    );
    assert.equal(unusual.item(), 2);
  });

  test('end with an error too', async () => {
    const before = await settle();
    const failure = new Error('mine');
    assert.throws(
      () =>
        torch.scope(() => {
          torch.ones([1]);
          torch.scope(); // left open, which the error must not make worse
          torch.ones([1]);
          throw failure;
        }),
      (error) => error === failure,
    );
    assert.equal(live(), before);
    assert.throws(() => torch.scope(() => void torch.scope()), /left open/);
    assert.throws(() => torch.scope(async () => torch.ones([1])), /must not be asynchronous/);
    assert.equal(live(), before);
    const loose = torch.ones([1]);
    assert.equal(loose.isDisposed, false, 'no scope is open');
    loose.dispose();
  });

  test('keep() escapes every scope', async () => {
    const before = await settle();
    let kept: torch.Tensor | undefined;
    let structure: { a: torch.Tensor } | undefined;
    torch.scope(() => {
      torch.scope(() => {
        kept = torch.ones([1]).keep();
        structure = torch.keep({ a: torch.ones([1]), b: [torch.ones([1])] });
      });
    });
    assert.deepEqual([kept!.isDisposed, structure!.a.isDisposed, live() - before], [false, false, 3]);
    const disposed = torch.scope(() => {
      const tensor = torch.ones([1]);
      tensor.dispose();
      return tensor;
    });
    assert.equal(disposed.isDisposed, true, 'returning a disposed tensor is no error');
  });

  test('using', async () => {
    const before = await settle();
    let kept: torch.Tensor;
    {
      using scope = torch.scope();
      torch.ones([1]);
      kept = scope.keep(torch.ones([1]));
      using own = torch.ones([1]);
      assert.equal(own.isDisposed, false);
    }
    assert.equal(kept.isDisposed, false);
    assert.equal(live(), before + 1);
    const outer = torch.scope();
    const inner = torch.scope();
    assert.throws(() => outer[Symbol.dispose](), /innermost first/);
    inner[Symbol.dispose]();
    inner[Symbol.dispose]();
    outer[Symbol.dispose]();
  });

  test('more tensors than one call can carry', async () => {
    const before = await settle();
    const many = torch.scope(() => Array.from({ length: 70_000 }, () => torch.scalar_tensor(1)));
    assert.equal(live(), before + 70_000);
    for (const tensor of many) tensor.dispose();
    torch.scope(() => void torch.ones([1]));
    assert.equal(live(), before);
  });

  test('a reused slot is never taken for what it held before', async () => {
    await settle();
    type Step = 'make' | 'dispose' | 'open' | 'close' | 'closeKeeping' | 'keep';
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.constantFrom<Step>('make', 'make', 'make', 'dispose', 'open', 'close', 'closeKeeping', 'keep'),
            fc.nat(1000),
          ),
          { maxLength: 60 },
        ),
        (steps) => {
          const before = live();
          // The model: every tensor ever made, where it lives (depth, or 0 for no scope), or -1 when it is gone.
          const all: { tensor: torch.Tensor; value: number; where: number }[] = [];
          const open: torch.Scope[] = [];
          const end = (survivors: (t: (typeof all)[0]) => boolean) => {
            const depth = open.length;
            const inside = all.filter((t) => t.where === depth);
            for (const t of inside) {
              if (survivors(t)) {
                t.tensor.keep();
                t.where = 0;
              } else t.where = -1;
            }
            open.pop()![Symbol.dispose]();
          };
          for (const [step, n] of steps) {
            const one = all[n % Math.max(1, all.length)];
            if (step === 'make') {
              all.push({ tensor: torch.full([1], all.length), value: all.length, where: open.length });
            } else if (step === 'dispose' && one) {
              one.tensor.dispose();
              one.where = -1;
            } else if (step === 'keep' && one && one.where >= 0) {
              one.tensor.keep();
              one.where = 0;
            } else if (step === 'open' && open.length < 6) open.push(torch.scope());
            else if (step === 'close' && open.length > 0) end(() => false);
            else if (step === 'closeKeeping' && open.length > 0) end((t) => t.value % 2 === n % 2);
            for (const t of all) {
              assert.equal(t.tensor.isDisposed, t.where === -1);
              if (t.where >= 0) assert.equal(t.tensor.item(), t.value);
            }
          }
          while (open.length > 0) end(() => false);
          assert.equal(live() - before, all.filter((t) => t.where >= 0).length);
          for (const t of all) t.tensor.dispose();
          assert.equal(live(), before);
        },
      ),
      { numRuns: 150 },
    );
  });

  test('stale ids are refused for as long as the table lives', () => {
    const ids = new Set<number>();
    for (let i = 0; i < 5000; i++) {
      const tensor = torch.scalar_tensor(i);
      assert.equal(ids.has(tensor.handle), false);
      ids.add(tensor.handle);
      tensor.dispose();
    }
    for (const id of ids) assert.equal(native.alive(id), false);
  });
});

describe('reports', () => {
  test('live tensors, with the place that made them', () => {
    torch.trackAllocations(true);
    function makerOfTensors() {
      return torch.zeros([1234, 3]);
    }
    const tensor = makerOfTensors();
    const found = torch.liveTensors().find((t) => t.shape[0] === 1234)!;
    assert.deepEqual([found.shape, found.dtype, found.bytes], [[1234, 3], 'float32', 1234 * 12]);
    assert.match(found.stack!, /makerOfTensors/);
    torch.trackAllocations(false);
    tensor.dispose();
    assert.equal(
      torch.liveTensors().some((t) => t.shape[0] === 1234),
      false,
    );
    const sparse = torch.eye(3).to_sparse();
    assert.ok(torch.liveTensors().length > 0);
    sparse.dispose();
  });

  test('bytes, now and at most', () => {
    const before = torch.memoryStats().liveBytes;
    torch.resetPeakMemory();
    const big = torch.zeros([1 << 20]);
    assert.ok(torch.memoryStats().liveBytes - before >= 4 << 20);
    big.dispose();
    assert.ok(Math.abs(torch.memoryStats().liveBytes - before) < 1 << 16);
    assert.ok(torch.memoryStats().peakBytes - before >= 4 << 20);
  });
});

describe('the garbage collector', () => {
  test('frees tensors dropped outside scopes, and generators', async () => {
    const before = await settle();
    (() => {
      for (let i = 0; i < 1000; i++) torch.ones([2]).add(1);
    })();
    assert.ok((await settle()) <= before + 5);
    let freed = 0;
    const registry = new FinalizationRegistry(() => freed++);
    (() => {
      for (let i = 0; i < 200; i++) registry.register(new torch.Generator().manualSeed(i), i);
    })();
    await settle();
    assert.ok(freed >= 190, `${freed} of 200 generators`);
  });

  test('does not free what is still reachable', async () => {
    const kept = Array.from({ length: 500 }, (_, i) => torch.full([3], i));
    const fromScope = torch.scope(() => torch.full([1], 9));
    await settle();
    for (const [i, tensor] of kept.entries()) assert.equal(tensor.select(0, 2).item(), i);
    assert.equal(fromScope.item(), 9);
  });

  test('400 tensors of 4 MB in a loop without a pause', () => {
    const start = torch.memoryStats().liveBytes;
    torch.resetPeakMemory();
    let sum = 0;
    for (let i = 0; i < 400; i++)
      sum += torch
        .full([1 << 20], 1)
        .select(0, 5)
        .item() as number;
    assert.equal(sum, 400);
    const peak = (torch.memoryStats().peakBytes - start) / 2 ** 20;
    assert.ok(peak < 600, `at most ${peak.toFixed()} MB were alive, of 1600 MB allocated`);
  });
});

test('large blocks that were released are found again, not fetched anew from the kernel', () => {
  const pages = (2 ** 20 * 4) / 4096;
  // Small ones in between live longer, so that large ones do not become one when they are freed.
  const small: torch.Tensor[] = [];
  const round = (): void => {
    const blocks = Array.from({ length: 3 }, () => {
      small.push(torch.ones([100]));
      return torch.ones([2 ** 20]);
    });
    for (const block of blocks) block.dispose();
  };
  round();
  const before = process.resourceUsage().minorPageFault;
  for (let i = 0; i < 20; i++) round();
  const faults = process.resourceUsage().minorPageFault - before;
  for (const tensor of small) tensor.dispose();
  assert.ok(faults < 6 * pages, `${faults} page faults for 60 blocks of ${pages} pages`);
});
