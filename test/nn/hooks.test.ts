import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const { nn } = torch;
type Tensor = torch.Tensor;
type Grads = torch.nn.Grads;

/** Two inputs, two outputs; `skip` leaves the second input out of the graph. */
class TwoInTwoOut extends nn.Module<[Tensor, Tensor, boolean?], [Tensor, Tensor]> {
  weight = new nn.Parameter(torch.full([1], 2));
  protected forward(a: Tensor, b: Tensor, skip = false): [Tensor, Tensor] {
    return [a.mul(this.weight), skip ? a.mul(3) : b.mul(5)];
  }
}

class Scale extends nn.Module {
  weight = new nn.Parameter(torch.full([1], 2));
  protected forward(x: Tensor): Tensor {
    return x.mul(this.weight);
  }
}

const show = (grads: Grads): (number | null)[] =>
  grads.map((g) => (g === null ? null : Number(g.sum().item())));

// Each scenario has a Python twin of the same name below; both return a log of what they saw.
const scenarios: Record<string, () => unknown[]> = {
  order() {
    const log: unknown[] = [];
    const m = new Scale();
    m.registerForwardPreHook(() => void log.push('pre1'));
    m.registerForwardPreHook(() => void log.push('pre2'));
    m.registerForwardPreHook(() => void log.push('pre0'), { prepend: true });
    m.registerForwardHook(() => void log.push('post1'));
    m.registerForwardHook(() => void log.push('post0'), { prepend: true });
    m.registerFullBackwardPreHook((_, go) => void log.push('bpre', ...show(go)));
    m.registerFullBackwardHook((_, gi, go) => void log.push('b1', ...show(gi), ...show(go)));
    m.registerFullBackwardHook(() => void log.push('b0'), { prepend: true });
    const x = torch.ones([2]).requiresGrad_();
    const y = m.call(x);
    log.push('called');
    y.sum().backward();
    log.push(...show([x.grad, m.weight.grad]));
    return log;
  },
  replace() {
    const m = new Scale();
    m.registerForwardPreHook((_, [x]) => x.add(1));
    m.registerForwardPreHook((_, [x]) => [x.mul(10)]);
    m.registerForwardHook((_, [x], y) => y.add(x));
    m.registerForwardHook((_, __, y) => y.mul(2));
    m.registerFullBackwardPreHook((_, [go]) => [go!.mul(3)]);
    m.registerFullBackwardPreHook((_, [go]) => [go!.add(1)]);
    m.registerFullBackwardHook((_, [gi]) => [gi!.mul(100)]);
    const log: unknown[] = [];
    m.registerFullBackwardHook((_, gi, go) => void log.push(...show(gi), ...show(go)));
    const x = torch.full([2], 4).requiresGrad_();
    const y = m.call(x);
    y.sum().backward();
    return [...log, ...show([y, x.grad, m.weight.grad])];
  },
  several() {
    const m = new TwoInTwoOut();
    const log: unknown[] = [];
    m.registerFullBackwardPreHook((_, go) => void log.push(show(go)));
    m.registerFullBackwardHook((_, gi, go) => void log.push(show(gi), show(go)));
    const [a, b] = [torch.ones([2]).requiresGrad_(), torch.ones([3]).requiresGrad_()];
    const [y, z] = m.call(a, b);
    y.sum().add(z.sum().mul(2)).backward();
    log.push(...show([a.grad, b.grad]));
    // One output without a gradient, then one input that does not take part, then one that needs no gradient.
    m.call(a, b)[0].sum().backward();
    const [p, q] = m.call(a, b, true);
    p.sum().add(q.sum()).backward();
    m.call(a, b.detach())[0].sum().backward();
    log.push(...show([a.grad, b.grad]));
    return log;
  },
  noInputGrad() {
    const m = new Scale();
    const log: unknown[] = [];
    m.registerFullBackwardHook((_, gi, go) => void log.push(show(gi), show(go)));
    m.call(torch.ones([2]))
      .sum()
      .backward();
    torch.noGrad(() => m.call(torch.ones([2])));
    log.push(...show([m.weight.grad]));
    return log;
  },
  twice() {
    const m = new Scale();
    const log: unknown[] = [];
    m.registerFullBackwardHook((_, gi, go) => void log.push(show(gi), show(go)));
    const x = torch.ones([2]).requiresGrad_();
    m.call(m.call(x)).sum().backward();
    log.push(...show([x.grad, m.weight.grad]));
    return log;
  },
  removedAfterForward() {
    const m = new Scale();
    const log: unknown[] = [];
    const handle = m.registerFullBackwardHook(() => void log.push('still'));
    const x = torch.ones([2]).requiresGrad_();
    const y = m.call(x);
    handle.remove();
    handle.remove();
    y.sum().backward();
    m.call(x).sum().backward();
    log.push(m.call(x).gradFnName !== null);
    return log;
  },
  addedByPreHook() {
    const m = new Scale();
    const log: unknown[] = [];
    let added = false;
    m.registerForwardPreHook(() => {
      if (added) return;
      added = true;
      m.registerForwardHook(() => void log.push('post'));
      m.registerFullBackwardHook(() => void log.push('backward'));
    });
    const x = torch.ones([2]).requiresGrad_();
    m.call(x).sum().backward();
    log.push('again');
    m.call(x).sum().backward();
    return log;
  },
  removedDuringCall() {
    const log: unknown[] = [];
    const x = torch.ones([2]).requiresGrad_();
    const [forward, pre, backward] = [new Scale(), new Scale(), new Scale()];
    const handles: torch.HookHandle[] = [];
    const both = (name: string) => () => {
      log.push(name);
      for (const handle of handles.splice(0)) handle.remove();
    };
    const only = (name: string) => () => void log.push(name);
    handles.push(forward.registerForwardHook(both('f1')), forward.registerForwardHook(only('f2')));
    forward.registerForwardHook(only('f3'));
    forward.call(forward.call(x));
    handles.push(pre.registerForwardPreHook(both('p1')), pre.registerForwardPreHook(only('p2')));
    pre.call(pre.call(x));
    handles.push(
      backward.registerFullBackwardHook(both('b1')),
      backward.registerFullBackwardHook(only('b2')),
    );
    backward.call(x).sum().backward();
    backward.call(x).sum().backward();
    return log;
  },
  inplaceAfter() {
    const m = new Scale();
    const log: unknown[] = [];
    m.registerFullBackwardHook(() => undefined);
    const x = torch.ones([2]).requiresGrad_();
    try {
      new nn.Sequential(m, new nn.ReLU({ inplace: true })).call(x);
      log.push('no error');
    } catch (error) {
      log.push(/is a view and is being modified inplace/.test((error as Error).message));
    }
    // In place on a hooked module's input inside the module.
    const relu = new nn.ReLU({ inplace: true });
    relu.registerFullBackwardHook(() => undefined);
    try {
      relu.call(x.mul(1));
      log.push('no error');
    } catch (error) {
      log.push(/is a view and is being modified inplace/.test((error as Error).message));
    }
    return log;
  },
  nested() {
    const log: unknown[] = [];
    const net = new nn.Sequential(new Scale(), new Scale());
    for (const [name, m] of net.namedModules()) {
      m.registerForwardHook(() => void log.push(`f ${name}`));
      m.registerFullBackwardPreHook(() => void log.push(`p ${name}`));
      m.registerFullBackwardHook((_, gi) => void log.push(`b ${name}`, ...show(gi)));
    }
    net
      .call(torch.ones([2]).requiresGrad_())
      .sum()
      .backward();
    return log;
  },
  wrongCounts() {
    const log: unknown[] = [];
    const x = torch.ones([2]).requiresGrad_();
    const attempt = (m: Scale, expected: RegExp, input = x) => {
      try {
        m.call(input).sum().backward();
        log.push('no error');
      } catch (error) {
        log.push(expected.test((error as Error).message));
      }
    };
    const [a, b, c] = [new Scale(), new Scale(), new Scale()];
    a.registerFullBackwardHook((_, [g]) => [g!, g!]);
    attempt(a, /invalid number of grad_input, got 2, but expected 1/);
    b.registerFullBackwardPreHook(() => []);
    attempt(b, /invalid number of grad_output, got 0, but expected 1/);
    c.registerFullBackwardHook((_, __, go) => go);
    attempt(c, /where no input requires gradient/, torch.ones([2]));
    return log;
  },
};

const PROGRAM = `
import json, re, torch
from torch import nn
class TwoInTwoOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0))
    def forward(self, a, b, skip=False):
        return a * self.weight, (a * 3 if skip else b * 5)
class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0))
    def forward(self, x):
        return x * self.weight
def show(grads):
    return [None if g is None else g.sum().item() for g in grads]
def leaf(n, v=1.0):
    return torch.full((n,), v).requires_grad_()
def order():
    log = []
    m = Scale()
    m.register_forward_pre_hook(lambda m, a: log.append('pre1'))
    m.register_forward_pre_hook(lambda m, a: log.append('pre2'))
    m.register_forward_pre_hook(lambda m, a: log.append('pre0'), prepend=True)
    m.register_forward_hook(lambda m, a, o: log.append('post1'))
    m.register_forward_hook(lambda m, a, o: log.append('post0'), prepend=True)
    m.register_full_backward_pre_hook(lambda m, go: log.extend(['bpre', *show(go)]))
    m.register_full_backward_hook(lambda m, gi, go: log.extend(['b1', *show(gi), *show(go)]))
    m.register_full_backward_hook(lambda m, gi, go: log.append('b0'), prepend=True)
    x = leaf(2)
    y = m(x)
    log.append('called')
    y.sum().backward()
    return log + show([x.grad, m.weight.grad])
def replace():
    m = Scale()
    m.register_forward_pre_hook(lambda m, a: a[0] + 1)
    m.register_forward_pre_hook(lambda m, a: (a[0] * 10,))
    m.register_forward_hook(lambda m, a, y: y + a[0])
    m.register_forward_hook(lambda m, a, y: y * 2)
    m.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,))
    m.register_full_backward_pre_hook(lambda m, go: (go[0] + 1,))
    m.register_full_backward_hook(lambda m, gi, go: (gi[0] * 100,))
    log = []
    m.register_full_backward_hook(lambda m, gi, go: log.extend([*show(gi), *show(go)]))
    x = leaf(2, 4.0)
    y = m(x)
    y.sum().backward()
    return log + show([y, x.grad, m.weight.grad])
def several():
    m = TwoInTwoOut()
    log = []
    m.register_full_backward_pre_hook(lambda m, go: log.append(show(go)))
    m.register_full_backward_hook(lambda m, gi, go: log.extend([show(gi), show(go)]))
    a, b = leaf(2), leaf(3)
    y, z = m(a, b)
    (y.sum() + z.sum() * 2).backward()
    log.extend(show([a.grad, b.grad]))
    m(a, b)[0].sum().backward()
    p, q = m(a, b, True)
    (p.sum() + q.sum()).backward()
    m(a, b.detach())[0].sum().backward()
    log.extend(show([a.grad, b.grad]))
    # The flag is an argument in Python's hooks too, where it is given.
    return log
def noInputGrad():
    m = Scale()
    log = []
    m.register_full_backward_hook(lambda m, gi, go: log.extend([show(gi), show(go)]))
    m(torch.ones(2)).sum().backward()
    with torch.no_grad():
        m(torch.ones(2))
    return log + show([m.weight.grad])
def twice():
    m = Scale()
    log = []
    m.register_full_backward_hook(lambda m, gi, go: log.extend([show(gi), show(go)]))
    x = leaf(2)
    m(m(x)).sum().backward()
    return log + show([x.grad, m.weight.grad])
def removedAfterForward():
    m = Scale()
    log = []
    handle = m.register_full_backward_hook(lambda m, gi, go: log.append('still'))
    x = leaf(2)
    y = m(x)
    handle.remove()
    handle.remove()
    y.sum().backward()
    m(x).sum().backward()
    return log + [m(x).grad_fn is not None]
def addedByPreHook():
    m = Scale()
    log = []
    added = []
    def pre(m, a):
        if added:
            return
        added.append(1)
        m.register_forward_hook(lambda m, a, o: log.append('post'))
        m.register_full_backward_hook(lambda m, gi, go: log.append('backward'))
    m.register_forward_pre_hook(pre)
    x = leaf(2)
    m(x).sum().backward()
    log.append('again')
    m(x).sum().backward()
    return log
def removedDuringCall():
    log = []
    x = leaf(2)
    forward, pre, backward = Scale(), Scale(), Scale()
    handles = []
    def both(name):
        def hook(*_):
            log.append(name)
            while handles:
                handles.pop().remove()
        return hook
    def only(name):
        return lambda *_: log.append(name)
    handles.extend([forward.register_forward_hook(both('f1')), forward.register_forward_hook(only('f2'))])
    forward.register_forward_hook(only('f3'))
    forward(forward(x))
    handles.extend([pre.register_forward_pre_hook(both('p1')), pre.register_forward_pre_hook(only('p2'))])
    pre(pre(x))
    handles.extend([backward.register_full_backward_hook(both('b1')), backward.register_full_backward_hook(only('b2'))])
    backward(x).sum().backward()
    backward(x).sum().backward()
    return log
def inplaceAfter():
    log = []
    def attempt(f):
        try:
            f()
            log.append('no error')
        except RuntimeError as e:
            log.append('is a view and is being modified inplace' in str(e))
    m = Scale()
    m.register_full_backward_hook(lambda m, gi, go: None)
    x = leaf(2)
    attempt(lambda: nn.Sequential(m, nn.ReLU(inplace=True))(x))
    relu = nn.ReLU(inplace=True)
    relu.register_full_backward_hook(lambda m, gi, go: None)
    attempt(lambda: relu(x * 1))
    return log
def nested():
    log = []
    net = nn.Sequential(Scale(), Scale())
    for name, m in net.named_modules():
        def attach(name, m):
            m.register_forward_hook(lambda m, a, o: log.append('f ' + name))
            m.register_full_backward_pre_hook(lambda m, go: log.append('p ' + name))
            m.register_full_backward_hook(lambda m, gi, go: log.extend(['b ' + name, *show(gi)]))
        attach(name, m)
    net(leaf(2)).sum().backward()
    return log
def wrongCounts():
    log = []
    def attempt(m, expected, x):
        try:
            m(x).sum().backward()
            log.append('no error')
        except RuntimeError as e:
            log.append(re.search(expected, str(e)) is not None)
    a, b, c = Scale(), Scale(), Scale()
    a.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    attempt(a, 'invalid number of grad_input, got 2, but expected 1', leaf(2))
    b.register_full_backward_pre_hook(lambda m, go: ())
    attempt(b, 'invalid number of grad_output, got 0, but expected 1', leaf(2))
    c.register_full_backward_hook(lambda m, gi, go: go)
    attempt(c, 'where no input requires gradient', torch.ones(2))
    return log
names = ['order', 'replace', 'several', 'noInputGrad', 'twice', 'removedAfterForward', 'addedByPreHook',
         'removedDuringCall', 'inplaceAfter', 'nested', 'wrongCounts']
print(json.dumps({n: globals()[n]() for n in names}))
`;

// What Python gave, for machines without it.
const expected: Record<string, unknown[]> = {
  order: ['pre0', 'pre1', 'pre2', 'post0', 'post1', 'called', 'bpre', 2, 'b0', 'b1', 4, 2, 4, 2],
  replace: [4800, 8, 600, 48000, 800],
  several: [
    [2, 6],
    [4, 30],
    [2, 6],
    4,
    30,
    [2, null],
    [4, 0],
    [2, null],
    [2, 2],
    [10, 0, null],
    [2, 2],
    [2, null],
    [4, 0],
    [2, null],
    22,
    30,
  ],
  noInputGrad: [[null], [2], 2],
  twice: [[4], [2], [8], [4], 8, 8],
  removedAfterForward: ['still', true],
  addedByPreHook: ['post', 'again', 'post', 'backward'],
  removedDuringCall: ['f1', 'f2', 'f3', 'f3', 'p1', 'p2', 'b1', 'b2'],
  inplaceAfter: [true, true],
  nested: ['f 0', 'f 1', 'f ', 'p ', 'p 1', 'b 1', 4, 'p 0', 'b 0', 8, 'b ', 8],
  wrongCounts: [true, true, true],
};

for (const [name, scenario] of Object.entries(scenarios)) {
  test(`hooks: ${name}`, () => {
    assert.deepEqual(scenario(), expected[name]);
  });
  test(`hooks: ${name}, in the mode that CUDA needs`, () => {
    torch.autograd.setBackwardMode('queue');
    try {
      assert.deepEqual(scenario(), expected[name]);
    } finally {
      torch.autograd.setBackwardMode('auto');
    }
  });
}

test('hooks: Python sees the same', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  assert.deepEqual(runPython(PROGRAM, null), expected);
});

test('hooks: removal by the hook itself, and at the end of a block', () => {
  const m = new Scale();
  const log: string[] = [];
  const first = m.registerForwardHook(() => {
    log.push('first');
    first.remove();
  });
  m.registerForwardHook(() => void log.push('third'));
  const x = torch.ones([1]).requiresGrad_();
  m.call(x);
  m.call(x);
  assert.deepEqual(log, ['first', 'third', 'third']);

  const backward = m.registerFullBackwardHook(() => {
    log.push('backward');
    backward.remove();
  });
  m.call(m.call(x)).sum().backward();
  m.call(x).sum().backward();
  // Both calls were made while the hook was there.
  assert.deepEqual(log.slice(3), ['third', 'third', 'backward', 'backward', 'third']);
  {
    using _handle = m.registerForwardPreHook(() => void log.push('scoped'));
    m.call(x);
  }
  m.call(x);
  assert.deepEqual(log.slice(8), ['scoped', 'third', 'third']);
});

test('hooks: an exception comes out as it was thrown, and the module works on', () => {
  for (const mode of ['auto', 'queue'] as const) {
    torch.autograd.setBackwardMode(mode);
    try {
      const m = new Scale();
      const thrown = new Error('from the hook');
      const handle = m.registerFullBackwardHook(() => {
        throw thrown;
      });
      const x = torch.ones([1]).requiresGrad_();
      assert.throws(
        () => m.call(x).sum().backward(),
        (error) => error === thrown,
      );
      handle.remove();
      m.call(x).sum().backward();
      assert.equal(x.grad?.item(), 2);
      assert.throws(() => m.registerForwardHook(3 as never), /a hook must be a function/);
    } finally {
      torch.autograd.setBackwardMode('auto');
    }
  }
});

test('hooks: a tensor that is kept outlives the call; nothing else is held', () => {
  const net = new nn.Sequential(new Scale(), new nn.ReLU(), new Scale());
  const features: Tensor[] = [];
  const handle = net.at(1).registerForwardHook((_, __, y) => void features.push(y.keep()));
  net.call(torch.ones([3]));
  handle.remove();
  assert.deepEqual(features[0]?.toArray(), [2, 2, 2]);
  for (const m of net.modules()) m.registerFullBackwardHook(() => undefined);
  const step = (): void =>
    torch.scope(() => {
      net.zeroGrad();
      net
        .call(torch.ones([3]).requiresGrad_())
        .sum()
        .backward();
    });
  step();
  const before = torch.memoryStats();
  for (let i = 0; i < 50; i++) step();
  const after = torch.memoryStats();
  assert.ok(after.liveTensors <= before.liveTensors && after.liveBytes <= before.liveBytes);
});

test('hooks: found by pattern, attached to any module', () => {
  const net = new nn.Sequential(new Scale(), new Scale());
  const seen: string[] = [];
  for (const [name, module] of net.find('*')) {
    module.registerForwardHook((m, args, output) => {
      seen.push(`${name} ${m.typeName} ${args.length} ${output instanceof torch.Tensor}`);
    });
  }
  net.call(torch.ones([1]));
  assert.deepEqual(seen, ['0 Scale 1 true', '1 Scale 1 true']);
});
